# The pipeline of PatchColorization with the networks that ship: the full-image network for the photo, the instance
# network for the crops; docs/colorizers/patch.md has its figures on 160 photos of COCO val2017.
#   python demo/colorization_demo.py configs/patch/photos/patch_insta_photos_w025_128x128.py \
#       projects/insta_colorization/weights/insta_fusion_photos_w025.safetensors --img photo.jpg
_base_ = ['../../insta/photos/insta_full_photos_w025_128x128.py']

model = dict(
    _delete_=True,
    type='PatchColorizer',
    image_net=dict(type='ColorizationBackbone', width=0.25),
    instance_net=dict(type='ColorizationBackbone', width=0.25),
)
# With masks, and otherwise as `fused_detected` of docs/results.md is measured.
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='SelectInstances', top_k=8),
    dict(type='SegmentInstances'),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=256),
    dict(type='ResizePhoto', size=128, keep_truth=True),
    dict(type='PackColorization'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
