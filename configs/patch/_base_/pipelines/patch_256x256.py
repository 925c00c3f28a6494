# Training on windows of at least 176/256 of the photo's sides; testing with instances and masks.
input_size = 256
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='RandomCropPhoto', min_side=176 / 256),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='SelectInstances', top_k=8),
    dict(type='SegmentInstances'),
    dict(type='CropInstances', size=input_size),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
