# Of the released Caffe code: Adam (0.9, 0.99) with a weight decay of 1e-3, 3e-5, a tenth of it every 225,000 of 500,000
# iterations.
_base_ = '../../../_base_/schedules/iterations.py'
max_iters = 500000
train_cfg = dict(max_iters=max_iters, val_interval=25000)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3e-5, betas=(0.9, 0.99), weight_decay=1e-3),
)
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=225000, gamma=0.1)]
