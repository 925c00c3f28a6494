# A random caption, and the same with other colours; windows of at least a fifth of the photo; half of the photos with
# the lightness of one in other colours. Windows and lightness are ours.
input_size = 224
captions_of_training = 'data/coco/selected_train.json'
captions_of_testing = 'data/coco/selected_val.json'
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadCaption', file=captions_of_training),
    dict(type='SwapColors', captions=captions_of_training, pairs='data/coco/obj2col.json'),
    dict(type='RandomCropPhoto', min_side=0.45),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='LuminanceJitter'),
    dict(type='PackColorization', inputs=['gray'], meta=['caption', 'counter_caption', 'named_colors']),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadCaption', file=captions_of_testing, which='first', required=False),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization', meta=['caption']),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='LoadCaption', file=captions_of_testing, which='first', required=False),
    dict(type='LoadCaptions', file=captions_of_testing),
    dict(type='ResizePhoto', size=input_size, keep_truth=True),
    dict(type='PackColorization', meta=['caption', 'captions']),
]
