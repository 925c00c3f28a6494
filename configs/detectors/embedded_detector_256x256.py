# The embedded detector, second part: on windows of 256 x 256, so that it is best on photos of 320 x 320.
#   python tools/train.py configs/detectors/embedded_detector_256x256.py
#   python tools/model_converters/publish_detector.py configs/detectors/embedded_detector_256x256.py CHECKPOINT.pth \
#       OUT.safetensors --side 320
_base_ = ['./embedded_detector_192x192.py']

load_from = 'work_dirs/embedded_detector_192x192/iter_2000.pth'
# What ships has a copy of one more run of blocks: the colour networks have trained it on since.
model = dict(above='enc4')
train_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.train_pipeline]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
max_iters = 2700
train_cfg = dict(max_iters=max_iters)
# Less than at first: what the blocks know of the objects would be lost.
optim_wrapper = dict(optimizer=dict(lr=6e-4), paramwise_cfg=dict(custom_keys={'encoder': dict(lr_mult=0.4)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
