# PatchColorization as published, for prediction and testing: Mask R-CNN, ECCV16 on photo and crops, masks, the curve.
#   python demo/colorization_demo.py configs/patch/patch_eccv16_256x256.py CHECKPOINT --img photo.jpg --native-size
#   python tools/test.py configs/patch/patch_eccv16_256x256.py CHECKPOINT
# CHECKPOINT is colorization_release_v2-9b330a0b.pth of richzhang/colorization, or weights of InstColorization, whose
# full-image network then colours the photo and whose instance network the crops. Not measured here.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/patch_eccv16.py',
    '../_base_/datasets/cocostuff.py',
    './_base_/pipelines/patch_256x256.py',
    '../_base_/schedules/epochs.py',
]
train_dataloader = None
train_cfg = None
optim_wrapper = None
val_dataloader = dict(dataset=dict(pipeline={{_base_.val_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
