# COCO-Stuff: the photos of COCO 2017. docs/datasets.md says where to get them; boxes are detected once:
#   python tools/detect_instances.py mmdet data/coco/train2017 --out data/coco/detections_train2017.json
#   python tools/detect_instances.py mmdet data/coco/val2017 --out data/coco/detections_val2017.json
_base_ = ['../evaluators/val_metrics.py', '../evaluators/test_metrics.py']
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True),
    dataset=dict(type='ColorizationDataset', data_root='data/coco/train2017'),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='data/coco/val2017', test_mode=True),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/coco/val2017',
        instances='data/coco/detections_val2017.json',
        gt_instances='data/coco/annotations/instances_val2017.json',
        test_mode=True,
    ),
)
