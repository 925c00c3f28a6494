# The ECCV16 network on ImageNet, in the settings of its released code except for what docs/colorizers/patch.md lists.
#   python tools/train.py configs/patch/patch_eccv16_imagenet_256x256.py
#   python tools/test.py configs/patch/patch_eccv16_imagenet_256x256.py CHECKPOINT
# Nobody has run it at full length with this code; the paper's training took 450,000 iterations.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/patch_eccv16_train.py',
    '../_base_/datasets/imagenet.py',
    './_base_/pipelines/patch_256x256.py',
    './_base_/schedules/eccv16_500k.py',
]
train_dataloader = dict(
    batch_size=40,
    sampler=dict(infinite=True),
    dataset=dict(pipeline={{_base_.train_pipeline}}),
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.val_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
