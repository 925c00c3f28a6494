# Training stage 2 on the light backbone: the colour network that ships learns to follow a map, on the frozen encoder.
#   python tools/train.py configs/semantic/photos/semantic_color_lite_160x160.py
# It takes photos with and without maps: data/semantic holds those of stage 1 and links to more; what no map says, the
# segmenter of stage 1 does.
_base_ = ['./semantic_color_photos_w025_128x128.py']

load_from = 'work_dirs/semantic_segment_lite_160x160/iter_700.pth'
start = 'projects/insta_colorization/weights/insta_fusion_lite.safetensors'
decoder_parts = ['bottleneck', 'scene', 'ups', 'map_code', 'ab_head']
model = dict(
    segment_net=dict(_delete_=True, type='LiteSegmenter'),
    color_net=dict(_delete_=True, type='LiteColorNet', weights=start),
    losses=dict(ab=dict(type='HuberLoss', loss_weight=11.0, beta=5 / 110, chroma_weight=4.4)),
    trainable=[f'color_net.{part}' for part in decoder_parts],
    # The network believes the photo more than the map: a grass that is called ground stays half green.
    map_guidance=3.0,
    presets=dict(
        safe=dict(type='RegressionDecoder'),
        natural=dict(type='RegressionDecoder', gain=1.2, expansion=0.3),
        vivid=dict(type='RegressionDecoder', gain=1.6, expansion=0.5),
    ),
)
input_size = 160
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadSemanticMap', folder=_base_.maps, required=False),
    # A quarter of the maps are left to the segmenter, besides those of the photos that have none.
    dict(type='ForgetMap', prob=0.25),
    dict(type='RandomCropPhoto', min_side=0.6),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=160),
    dict(type='AgePhoto'),
    dict(type='PackColorization', inputs=['gray']),
]
val_pipeline = [{**step, 'size': 160} if 'size' in step else step for step in _base_.val_pipeline]
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))

max_iters = 700
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# bfloat16 would be slower on processors without instructions for it.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=100))
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
randomness = dict(seed=0)
