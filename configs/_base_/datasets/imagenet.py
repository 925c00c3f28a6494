# ImageNet: the photos of train, tested on ctest10k, ten thousand of val. docs/datasets.md says how the list is made;
# boxes are detected once:
#   python tools/detect_instances.py mmdet data/imagenet/train --recursive --out data/imagenet/detections_train.json
#   python tools/detect_instances.py mmdet data/imagenet/val --recursive --out data/imagenet/detections_val.json
_base_ = ['../evaluators/val_metrics.py', '../evaluators/test_metrics.py']
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True),
    dataset=dict(type='ColorizationDataset', data_root='data/imagenet/train'),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='data/imagenet/val', ann_file='ctest10k.txt', test_mode=True),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/imagenet/val',
        ann_file='ctest10k.txt',
        instances='data/imagenet/detections_val.json',
        test_mode=True,
    ),
)
