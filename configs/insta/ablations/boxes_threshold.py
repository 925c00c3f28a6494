# All boxes above the detector's threshold (Table 3b). The paper reports 28.139 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=None, required=True),
    dict(type='CropInstances', size=256),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=None),
    dict(type='CropInstances', size=256),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
