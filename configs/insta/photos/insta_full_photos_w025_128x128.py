# Stage 1 of the network that ships, second part: the same network at 128 x 128, from the first part's averaged weights.
# Windows of half a photo are still as large as the network's input. About 35 minutes on one core (AMX bfloat16).
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/photos
#   python tools/train.py configs/insta/photos/insta_full_photos_w025_128x128.py
_base_ = ['./insta_full_photos_w025_64x64.py']

load_from = 'work_dirs/insta_full_photos_w025_64x64/iter_5000.pth'
# Chosen on the held-back photos.
model = dict(decoder=dict(_delete_=True, type='RegressionDecoder', gain=1.1))
input_size = 128
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='RandomCropPhoto', min_side=0.5),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=128),
    dict(type='PackColorization'),
]
val_pipeline = [{**step, 'size': 128} if 'size' in step else step for step in _base_.val_pipeline]
train_dataloader = dict(batch_size=32, dataset=dict(data_root='data/photos', pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(data_root='data/photos', pipeline=val_pipeline))

# Testing is at 256 x 256: the prediction is brought to that size and joined with the photo's lightness there.
#   python tools/test.py configs/insta/photos/insta_full_photos_w025_128x128.py CHECKPOINT \
#       --cfg-options test_dataloader.dataset.data_root=FOLDER test_dataloader.dataset.gt_instances=BOXES.json
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances'),
    dict(type='SelectInstances', top_k=8),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=256),
    dict(type='ResizePhoto', size=128, keep_truth=True),
    dict(type='PackColorization'),
]
test_dataloader = dict(batch_size=8, dataset=dict(data_root='data/test', ann_file='', pipeline=test_pipeline))

max_iters = 1800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=100, T_max=max_iters - 100, end=max_iters),
]
