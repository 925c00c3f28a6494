# The embedded detector: a head on the encoder of the colour weights that ship, with a copy of its last blocks that is
# trained along, taught by the boxes of another detector.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/photos
#   python tools/detect_instances.py yolox_nano.onnx data/photos --recursive --top-k 12 --out data/photos/instances.json
#   python tools/train.py configs/detectors/embedded_detector_192x192.py
# With a cache of features the part of the encoder that stays as it is runs once for each picture:
#   --cfg-options model.cache=work_dirs/features train_dataloader.dataset.views=1
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/photos.py',
    '../_base_/schedules/iterations.py',
]

# model.above=None trains the head alone.
model = dict(
    type='DenseDetector', encoder='projects/insta_colorization/weights/insta_fusion_lite.safetensors', above='enc8'
)
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadInstances'),
    dict(type='RandomCropPhoto', min_side=0.6),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=None, min_size=8),
    dict(type='ResizePhoto', size=192),
    dict(type='AgePhoto'),
    dict(type='PackColorization', inputs=['gray']),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(data_root='data/photos', instances='data/photos/instances.json', pipeline=train_pipeline),
)
# Measured by tools/analysis_tools/evaluate_detectors.py, against true boxes.
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None

max_iters = 2000
train_cfg = dict(max_iters=max_iters)
# bfloat16 would be slower on processors without instructions for it.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=1.5e-3),
    clip_grad=dict(max_norm=5.0),
    # The copied blocks know much already.
    paramwise_cfg=dict(custom_keys={'encoder': dict(lr_mult=0.3)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
randomness = dict(seed=0)
