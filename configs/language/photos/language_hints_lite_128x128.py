# How the weights that ship follow captions, which become hints on objects.
#   python tools/test.py configs/language/photos/language_hints_lite_128x128.py \
#       projects/insta_colorization/weights/insta_fusion_lite.safetensors
# data/test holds photos in colour, data/test.json their true boxes and masks, data/test_captions.json any number of
# captions of each. `instances` are the objects that may be coloured: the true ones, unless another file is named.
_base_ = '../../insta/photos/insta_fusion_lite_128x128.py'
objects = 'data/test.json'
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='LoadCaptions', file='data/test_captions.json'),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=128, keep_truth=True),
    dict(type='PackColorization', meta=['captions']),
]
test_dataloader = dict(dataset=dict(instances=objects, gt_instances=objects, pipeline=test_pipeline))
test_evaluator = [dict(type='PSNR', levels=['image']), dict(type='CaptionFollowing')]
