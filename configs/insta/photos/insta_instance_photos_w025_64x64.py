# Stage 2 of the small network: the instance network on crops of detected objects, from the full-image network.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/photos
#   python tools/detect_instances.py yolox_nano.onnx data/photos --recursive --out data/photos/instances.json
#   python tools/train.py configs/insta/photos/insta_instance_photos_w025_64x64.py --cfg-options load_from=STAGE_1.pth
_base_ = ['./insta_full_photos_w025_64x64.py']

model = dict(type='InstanceColorizer', instance_net=dict(type='ColorizationBackbone', width=0.25))
load_from = 'work_dirs/insta_full_photos_w025_64x64/iter_5000.pth'

train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='CropToInstance'),
    dict(type='RandomCropPhoto', min_side=0.8),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=64),
    dict(type='PackColorization'),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropToInstance'),
    dict(type='ResizePhoto', size=64),
    dict(type='PackColorization'),
]
# Testing is at 256 x 256, of whole photos with their instances, which stage 3 uses.
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=64),
    dict(type='ResizePhoto', size=256),
    dict(type='ResizePhoto', size=64, keep_truth=True),
    dict(type='PackColorization'),
]
train_dataloader = dict(
    dataset=dict(
        data_root='data/photos',
        instances='data/photos/instances.json',
        filter_cfg=dict(min_instances=1),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root='data/photos',
        instances='data/photos/instances.json',
        filter_cfg=dict(min_instances=1),
        pipeline=val_pipeline,
    )
)
test_dataloader = dict(
    batch_size=16,
    dataset=dict(data_root='data/photos', instances='data/photos/instances.json', pipeline=test_pipeline),
)

max_iters = 3000
train_cfg = dict(max_iters=max_iters, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=100, T_max=max_iters - 100, end=max_iters),
]
