# Adam at 1e-3 that falls to a hundredth over 100,000 iterations.
_base_ = '../../../_base_/schedules/iterations.py'
max_iters = 100000
train_cfg = dict(max_iters=max_iters, val_interval=10000)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=1000),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=1000, T_max=max_iters - 1000, end=max_iters),
]
