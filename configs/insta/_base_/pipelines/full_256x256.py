# Whole photos, squashed. For testing also the instances and their crops, where the dataset has boxes.
input_size = 256
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=input_size),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
val_pipeline = test_pipeline
