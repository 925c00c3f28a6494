# Stage 3 of the network that ships: the fusion, with the outer layers and the class head of the fused network. These
# weights ship; their card in projects/insta_colorization/weights has the figures.
#   python tools/train.py configs/insta/photos/insta_fusion_photos_w025_128x128.py
# and then, from what that wrote, all of the fusion network:
#   python tools/train.py configs/insta/photos/insta_fusion_photos_w025_128x128.py --work-dir work_dirs/last_part \
#       --cfg-options load_from=work_dirs/insta_fusion_photos_w025_128x128/iter_800.pth model.trainable=['fusion_net'] \
#       optim_wrapper.optimizer.lr=5e-4 train_cfg.max_iters=850 param_scheduler.1.T_max=800 param_scheduler.1.end=850
_base_ = ['./insta_instance_photos_w025_128x128.py']

model = dict(
    type='InstColorizer',
    fusion_net=dict(type='FusionNetwork', width=0.25),
    trainable=['fusion_net.fusions', 'fusion_net.stages.conv10', 'fusion_net.ab_head', 'fusion_net.class_head'],
    norm_eval=True,
)
load_from = 'work_dirs/insta_instance_photos_w025_128x128/iter_800.pth'

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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
