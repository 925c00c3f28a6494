# Stage 3 of the network that ships: the fusion, with the outer layers and the class head of the fused network. These
# weights ship; their card in projects/insta_colorization/weights has the figures.
#   python tools/train.py configs/insta/photos/insta_fusion_photos_w025_128x128.py
_base_ = ['./insta_fusion_photos_w025_64x64.py']

load_from = 'work_dirs/insta_instance_photos_w025_128x128/iter_800.pth'
# Chosen on the held-back photos.
model = dict(decoder=dict(_delete_=True, type='RegressionDecoder', gain=1.1))

train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
# Testing is at 256 x 256, as for insta_full_photos_w025_128x128.
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=256),
    dict(type='ResizePhoto', size=128, keep_truth=True),
    dict(type='PackColorization'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(data_root='data/test', ann_file='', pipeline=test_pipeline))

max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=100))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
input_size = 128
