# Stage 2 of the light backbone: the decoder of an instance network, on crops of detected objects. The encoder is the
# full-image network's and stays: to it a crop looks like the pictures of ImageNet, which are of one object each.
#   python tools/train.py configs/insta/photos/insta_instance_lite_128x128.py
_base_ = ['./insta_full_lite_tuned_128x128.py']

load_from = 'work_dirs/insta_full_lite_tuned_128x128/iter_1000.pth'
model = dict(
    type='InstanceColorizer',
    image_net=dict(encoder=dict(pretrained=False)),
    instance_net=dict(type='LiteBackbone'),
    trainable=[f'instance_net.{part}' for part in _base_.decoder_parts],
)
# Windows of at least 64 pixels are as sharp as the crops of large photos.
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='RandomInstanceWindows', scale=(0.8, 2.0), min_size=64),
    dict(type='CropToInstance'),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=128),
    dict(type='AgePhoto'),
    dict(type='SampleHints'),
    dict(type='PackColorization', inputs=['gray', 'hint_regions']),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropToInstance'),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
boxes = dict(instances='data/photos/instances.json', filter_cfg=dict(min_instances=1))
train_dataloader = dict(dataset=dict(**boxes, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**boxes, pipeline=val_pipeline))

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=40, T_max=max_iters - 40, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
