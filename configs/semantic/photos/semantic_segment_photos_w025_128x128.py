# Training stage 1 at a quarter of the width, on one's own photos with maps, for a CPU. Nobody has run it in full.
#   python tools/dataset_converters/make_list.py data/semantic --split
#   python tools/train.py configs/semantic/photos/semantic_segment_photos_w025_128x128.py
# data/semantic holds the photos, data/semantic_maps a PNG for each.
_base_ = [
    '../../_base_/default_runtime.py',
    '../_base_/models/semantic_segment.py',
    '../../_base_/datasets/semantic_photos.py',
    '../../_base_/schedules/iterations.py',
]
model = dict(segment_net=dict(width=0.25))

input_size = 128
maps = 'data/semantic_maps'
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSemanticMap', folder=maps),
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
val_evaluator = [dict(type='SemanticIoU')]
test_evaluator = [dict(type='SemanticIoU')]

max_iters = 5000
train_cfg = dict(max_iters=max_iters, val_interval=1250)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=300),
    dict(type='CosineAnnealingLR', eta_min=3e-4, by_epoch=False, begin=300, T_max=max_iters - 300, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500))
