# Stage 2 of the network that ships: the instance network on crops of detected objects, from the full-image network.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/photos
#   python tools/detect_instances.py yolox_nano.onnx data/photos --recursive --out data/photos/instances.json
#   python tools/train.py configs/insta/photos/insta_instance_photos_w025_128x128.py
_base_ = ['./insta_instance_photos_w025_64x64.py']

load_from = 'work_dirs/insta_full_photos_w025_128x128/iter_1800.pth'
# Chosen on the held-back photos.
model = dict(decoder=dict(_delete_=True, type='RegressionDecoder', gain=1.1))

input_size = 128
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='RandomInstanceWindows', scale=(0.7, 2.5), min_size=64),
    dict(type='CropToInstance'),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
# Testing is of whole photos with their instances, which stage 3 uses; predictions are brought to 256 x 256.
#   python tools/test.py RECIPE CHECKPOINT --cfg-options test_dataloader.dataset.data_root=FOLDER \
#       test_dataloader.dataset.instances=BOXES.json test_dataloader.dataset.gt_instances=TRUE_BOXES.json
val_pipeline, test_pipeline = (
    [{**step, 'size': 128} if step.get('size') == 64 else step for step in pipeline]
    for pipeline in (_base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(
    batch_size=8, dataset=dict(data_root='data/test', ann_file='', instances=None, pipeline=test_pipeline)
)

max_iters = 900
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# The full-image network knows most of it already: a higher rate would only make it forget.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
default_hooks = dict(checkpoint=dict(interval=100))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
custom_hooks = [dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
