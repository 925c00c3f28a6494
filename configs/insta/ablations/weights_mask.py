# The true instance masks in place of learned weights (Table 3c): the larger instance lies on top.
# The paper reports a clearly worse result than with learned weights.
_base_ = '../insta_fusion_cocostuff_256x256.py'
model = dict(fusion_net=dict(fusion=dict(type='MaskFusion', mask='instance')))
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances', masks=True),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, required=True),
    dict(type='CropInstances', size=256),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=256),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
train_dataloader = dict(
    dataset=dict(instances='data/coco/annotations/instances_train2017.json', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json', pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json', pipeline=test_pipeline))
