# One instance of each photo, at random, in the photo's place. Validation takes the same one every time.
_base_ = './full_256x256.py'
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8, required=True),
    dict(type='CropToInstance'),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropToInstance'),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
