# Stage 3 with the longer schedule of the released code: 10 epochs at 5e-5, then 20 in which it falls linearly; one
# photo at a time. Not measured here.
#   python tools/train.py configs/insta/insta_fusion_released_cocostuff_256x256.py
_base_ = './insta_fusion_cocostuff_256x256.py'
load_from = 'work_dirs/insta_instance_released_cocostuff_256x256/epoch_150.pth'
train_cfg = dict(max_epochs=30)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [dict(type='LinearLR', start_factor=1.0, end_factor=1 / 21, by_epoch=True, begin=9, end=30)]
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=1)
