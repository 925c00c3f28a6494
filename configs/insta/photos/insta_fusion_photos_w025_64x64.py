# Stage 3 of the small network: the fusion, with the outer layers and the class head of the fused network.
#   python tools/train.py configs/insta/photos/insta_fusion_photos_w025_64x64.py --cfg-options load_from=STAGE_2.pth
#   python tools/test.py configs/insta/photos/insta_fusion_photos_w025_64x64.py CHECKPOINT
# Testing is on the photos that were held back, as stage 2's recipe has it.
_base_ = ['./insta_instance_photos_w025_64x64.py']

model = dict(
    type='InstColorizer',
    fusion_net=dict(type='FusionNetwork', width=0.25),
    trainable=['fusion_net.fusions', 'fusion_net.stages.conv10', 'fusion_net.ab_head', 'fusion_net.class_head'],
    norm_eval=True,
)
load_from = 'work_dirs/insta_instance_photos_w025_64x64/iter_3000.pth'

train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='CropInstances', size=64),
    dict(type='ResizePhoto', size=64),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='CropInstances', size=64) if step.type == 'CropToInstance' else step for step in _base_.val_pipeline
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))

max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=100, T_max=max_iters - 100, end=max_iters),
]
