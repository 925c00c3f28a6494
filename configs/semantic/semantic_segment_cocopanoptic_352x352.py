# Training stage 1: the segmenter, by cross-entropy on COCO panoptic's maps in our 60 classes.
#   python tools/train.py configs/semantic/semantic_segment_cocopanoptic_352x352.py
# The paper's data, losses and schedule are not known; these are ours. Nobody has run it at full length.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/semantic_segment.py',
    '../_base_/datasets/cocopanoptic.py',
    './_base_/pipelines/semantic_352x352.py',
    './_base_/schedules/semantic_100k.py',
]
train_dataloader = dict(dataset=dict(pipeline={{_base_.segment_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
val_evaluator = [dict(type='SemanticIoU')]
test_evaluator = [dict(type='SemanticIoU')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
