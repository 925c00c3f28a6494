# Photos squashed to small squares by tools/dataset_converters/prepare_photos.py; one in ten is held back.
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=64),
    dict(type='PackColorization'),
]
val_pipeline = [dict(type='LoadPhoto'), dict(type='ResizePhoto', size=64), dict(type='PackColorization')]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True, infinite=True),
    dataset=dict(type='ColorizationDataset', data_root='data/photos_80', ann_file='train.txt', pipeline=train_pipeline),
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
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='PSNR'), dict(type='Colorfulness')]
test_evaluator = [
    dict(type='PSNR'),
    dict(type='SSIM'),
    dict(type='LPIPS'),
    dict(type='Colorfulness'),
    dict(type='FID', family='tf'),
    dict(type='FID', family='torchvision'),
]
