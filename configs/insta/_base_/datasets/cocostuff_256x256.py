# COCO-Stuff: the photos of COCO 2017, whole, squashed to 256 x 256.
#   data/coco/train2017/*.jpg   data/coco/val2017/*.jpg
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/coco/train2017',
        pipeline=[
            dict(type='LoadPhoto'),
            dict(type='RandomFlipPhoto'),
            dict(type='ResizePhoto', size=256),
            dict(type='PackColorization'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/coco/val2017',
        test_mode=True,
        pipeline=[dict(type='LoadPhoto'), dict(type='ResizePhoto', size=256), dict(type='PackColorization')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='PSNR'), dict(type='Colorfulness')]
test_evaluator = val_evaluator
