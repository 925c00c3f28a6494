# A quarter-width full-image network for two CPU cores, first part: 64 x 64, from scratch, both heads.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --size 80 --out data/photos_80
#   python tools/train.py configs/insta/photos/insta_full_photos_w025_64x64.py
# About 50 minutes on one core (AMX bfloat16). After 4,500 iterations, 160 held-back photos at 64 x 64: annealed mean
# 21.9 dB PSNR at CF 37 of 39, regression head 23.9 dB at CF 20, grey 23.3 dB.
_base_ = [
    '../../_base_/default_runtime.py',
    '../_base_/models/insta_full_w025.py',
    '../../_base_/datasets/photos.py',
    '../../_base_/schedules/iterations.py',
]

model = dict(
    losses=dict(
        ab=dict(chroma_weight=4.0),
        classes=dict(type='RebalancedClassLoss', prior='ab_prior.json'),
    ),
    decoder=dict(type='AnnealedMeanDecoder', temperature=0.38),
)

input_size = 64
train_pipeline = [
    dict(type='LoadPhoto'),
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
detector = dict(_delete_=True, type='OpenCVDetector')
