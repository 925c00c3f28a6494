# Training stage 2 at a quarter of the width, the map with a first convolution of its own, on the photos of stage 1,
# whose segmenter stays as it is. Nobody has run it at full length.
#   python tools/train.py configs/semantic/photos/semantic_color_photos_w025_128x128.py
_base_ = [
    '../../_base_/default_runtime.py',
    '../_base_/models/semantic_color.py',
    '../../_base_/datasets/semantic_photos.py',
    '../../_base_/schedules/iterations.py',
]
model = dict(segment_net=dict(width=0.25), color_net=dict(width=0.25, one_hot=True))
load_from = 'work_dirs/semantic_segment_photos_w025_128x128/iter_5000.pth'

input_size = 128
maps = 'data/semantic_maps'
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadSemanticMap', folder=maps),
    # Half of the maps are left to the segmenter.
    dict(type='ForgetMap', prob=0.5),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadSemanticMap', folder=maps, required=False),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
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
