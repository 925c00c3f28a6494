# Training stage 1 on the light backbone: a segmenter on the frozen encoder of the colour weights that ship, whose
# decoder it begins with, on one's own photos with maps.
#   python tools/dataset_converters/caption_maps.py data/semantic captions.json data/semantic_maps
#   python tools/dataset_converters/make_list.py data/semantic --split
#   python tools/train.py configs/semantic/photos/semantic_segment_lite_160x160.py
# data/semantic holds the photos, data/semantic_maps a PNG for each; the first command adds weak maps of stuff.
_base_ = ['./semantic_segment_photos_w025_128x128.py']

start = 'projects/insta_colorization/weights/insta_fusion_lite.safetensors'
decoder_parts = ['bottleneck', 'scene', 'ups']
model = dict(
    segment_net=dict(_delete_=True, type='LiteSegmenter', weights=start),
    trainable=[f'segment_net.{part}' for part in [*decoder_parts, 'head']],
)
input_size = 160
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSemanticMap', folder=_base_.maps),
    dict(type='RandomCropPhoto', min_side=0.5),
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
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=200))
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
randomness = dict(seed=0)
