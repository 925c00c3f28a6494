# All boxes above the detector's threshold (Table 3b). The paper reports 28.139 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
train_pipeline, test_pipeline = (
    [dict(step, top_k=None) if step.type == 'SelectInstances' else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
