# The eight largest true boxes (Table 3b). The paper reports 28.470 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
train_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_train2017.json'))
val_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json'))
test_dataloader = dict(dataset=dict(instances='data/coco/annotations/instances_val2017.json'))
