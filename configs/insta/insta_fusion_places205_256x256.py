# Tests a checkpoint of any stage on Places205, which the paper does not train on.
#   python tools/test.py configs/insta/insta_fusion_places205_256x256.py CHECKPOINT
# Not measured here; the paper reports 27.800 dB PSNR, fine-tuned on COCO-Stuff (Table 1).
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/insta_fusion.py',
    '../_base_/datasets/places205.py',
    './_base_/pipelines/full_256x256.py',
]
test_cfg = dict(type='TestLoop')
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
