# The true instance masks in place of learned weights (Table 3c): the larger instance lies on top.
# The paper reports a clearly worse result than with learned weights.
_base_ = '../insta_fusion_cocostuff_256x256.py'
model = dict(fusion_net=dict(fusion=dict(type='MaskFusion', mask='instance')))
train_pipeline, test_pipeline = (
    [dict(step, masks=True) if step.type == 'LoadInstances' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(
    dataset=dict(instances='data/coco/annotations/instances_train2017.json', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json', pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json', pipeline=test_pipeline))
