# Stage 2 with the longer schedule of the released code: 100 epochs at 5e-4, then 50 in which it falls linearly.
# Not measured here.
#   python tools/train.py configs/insta/insta_instance_released_cocostuff_256x256.py
_base_ = './insta_instance_cocostuff_256x256.py'
load_from = 'work_dirs/insta_full_released_cocostuff_256x256/epoch_150.pth'
train_cfg = dict(max_epochs=150)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type='LinearLR', start_factor=1.0, end_factor=1 / 51, by_epoch=True, begin=99, end=150)]
