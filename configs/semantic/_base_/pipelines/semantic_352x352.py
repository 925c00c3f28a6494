# Windows of at least 0.7 of the photo's sides, with the maps; half of the maps are left to the segmenter where colours
# are learnt.
input_size = 352
maps_of_training = 'data/coco/semantic_train2017'
maps_of_testing = 'data/coco/semantic_val2017'
segment_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadSemanticMap', folder=maps_of_training),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
color_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadSemanticMap', folder=maps_of_training),
    dict(type='ForgetMap', prob=0.5),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadSemanticMap', folder=maps_of_testing, required=False),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization'),
]
