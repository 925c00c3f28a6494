# Stage 3 of the network that ships: all of the fusion network, with windows about the boxes as in stage 2 and boxes
# that fade at their edges. The card in projects/insta_colorization/weights has the figures.
#   python tools/train.py configs/insta/photos/insta_fusion_photos_w025_128x128.py
_base_ = ['./insta_instance_photos_w025_128x128.py']

model = dict(
    type='InstColorizer',
    fusion_net=dict(type='FusionNetwork', width=0.25, fusion=dict(feather=0.25)),
    trainable=['fusion_net'],
    norm_eval=True,
)
load_from = 'work_dirs/insta_instance_photos_w025_128x128/iter_900.pth'

train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='RandomInstanceWindows', scale=(0.7, 2.5), prob=0.7),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='CropInstances', size=128) if step.type == 'CropToInstance' else step for step in _base_.val_pipeline
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))

max_iters = 700
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
