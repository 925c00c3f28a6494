# Photos squashed to small squares by tools/dataset_converters/prepare_photos.py; one in ten is held back.
_base_ = ['../evaluators/val_metrics.py', '../evaluators/test_metrics.py']
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True, infinite=True),
    dataset=dict(type='ColorizationDataset', data_root='data/photos_80', ann_file='train.txt'),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/photos_80',
        ann_file='val.txt',
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
