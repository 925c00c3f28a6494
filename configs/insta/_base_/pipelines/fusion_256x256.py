# Whole photos with their best eight instances.
_base_ = './full_256x256.py'
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, required=True),
    dict(type='CropInstances', size=256),
    dict(type='ResizePhoto', size=256),
    dict(type='PackColorization'),
]
