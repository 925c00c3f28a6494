# Photos of one's own with true maps, which are in a folder beside theirs under the same names; one in ten is held back.
#   python tools/dataset_converters/make_list.py data/semantic --split
_base_ = '../evaluators/semantic_metrics.py'
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True, infinite=True),
    dataset=dict(type='ColorizationDataset', data_root='data/semantic', ann_file='train.txt'),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='data/semantic', ann_file='val.txt', test_mode=True),
)
test_dataloader = val_dataloader
