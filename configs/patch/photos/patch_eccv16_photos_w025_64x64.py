# A quarter-width ECCV16 network on one's own photos at 64 x 64, for a CPU; nobody has run it at full length.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --size 80 --out data/photos_80
#   python tools/train.py configs/patch/photos/patch_eccv16_photos_w025_64x64.py
_base_ = [
    '../../_base_/default_runtime.py',
    '../_base_/models/patch_eccv16_train.py',
    '../../_base_/datasets/photos.py',
    '../../_base_/schedules/iterations.py',
]
model = dict(eccv_net=dict(width=0.25))
detector = dict(_delete_=True, type='OpenCVDetector')

input_size = 64
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=64),
    dict(type='PackColorization'),
]
val_pipeline = [dict(type='LoadPhoto'), dict(type='ResizePhoto', size=64), dict(type='PackColorization')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))

max_iters = 5000
train_cfg = dict(max_iters=max_iters, val_interval=1250)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=300),
    dict(type='CosineAnnealingLR', eta_min=3e-4, by_epoch=False, begin=300, T_max=max_iters - 300, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.002)]
