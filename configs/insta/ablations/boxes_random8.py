# Eight boxes at random (Table 3b); of a test photo the same ones at every run.
# The paper reports 28.386 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
train_pipeline, test_pipeline = (
    [dict(step, order='random') if step.type == 'SelectInstances' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
