# L-CoIns at the published size: prediction with captions, and a training of it.
#   python demo/colorization_demo.py configs/language/lcoins_cocostuff_224x224.py CHECKPOINT --img photo.jpg \
#       --caption 'a red bus' --native-size
#   python tools/train.py configs/language/lcoins_cocostuff_224x224.py
#   python tools/test.py configs/language/lcoins_cocostuff_224x224.py CHECKPOINT
# The published code's weights were never published, and its training loop is missing: what docs/colorizers/language.md
# calls ours is ours. selected_train.json, selected_val.json and obj2col.json are L-CoDe's captions of COCO 2017. Nobody
# has run it at full length; nothing is measured here.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/lcoins_train.py',
    '../_base_/datasets/cocostuff.py',
    './_base_/pipelines/captions_224x224.py',
    './_base_/schedules/lcoins_100e.py',
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.val_pipeline}}))
test_dataloader = dict(dataset=dict(instances=None, pipeline={{_base_.test_pipeline}}))
test_evaluator = [dict(type='PSNR'), dict(type='SSIM'), dict(type='LPIPS'), dict(type='CaptionFollowing')]
default_hooks = dict(checkpoint=dict(save_best='image/PSNR', rule='greater'))
