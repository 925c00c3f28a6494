# COCO 2017 with the maps that tools/dataset_converters/semantic_maps.py makes of its panoptic annotations:
#   python tools/dataset_converters/semantic_maps.py data/coco/annotations/panoptic_train2017 \
#       data/coco/semantic_train2017 --panoptic data/coco/annotations/panoptic_train2017.json
#   python tools/dataset_converters/semantic_maps.py data/coco/annotations/panoptic_val2017 \
#       data/coco/semantic_val2017 --panoptic data/coco/annotations/panoptic_val2017.json
_base_ = '../evaluators/semantic_metrics.py'
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True, infinite=True),
    dataset=dict(type='ColorizationDataset', data_root='data/coco/train2017'),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='data/coco/val2017', test_mode=True),
)
test_dataloader = val_dataloader
