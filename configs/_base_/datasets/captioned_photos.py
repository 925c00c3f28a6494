# Photos of one's own with a file of captions; one photo in ten is held back.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/captioned
_base_ = ['../evaluators/val_metrics.py', '../evaluators/test_metrics.py']
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='PhotoSampler', shuffle=True, infinite=True),
    dataset=dict(type='ColorizationDataset', data_root='data/captioned', ann_file='train.txt'),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='data/captioned', ann_file='val.txt', test_mode=True),
)
test_dataloader = val_dataloader
