# The toy on whatever photos `train_dataloader.dataset.data_root` and the other two name.
_base_ = ['../../../configs/_base_/default_runtime.py', '../../../configs/_base_/schedules/epochs.py']
custom_imports = dict(imports=['toy_colorizer'])
input_size = 32
model = dict(type='ToyColorizer', tone_net=dict(type='ToyNet', channels=12))
train_pipeline = [dict(type='LoadPhoto'), dict(type='ResizePhoto', size=32), dict(type='PackColorization')]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ResizePhoto', size=64),
    dict(type='ResizePhoto', size=32, keep_truth=True),
    dict(type='PackColorization'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='PhotoSampler'),
    dataset=dict(type='ColorizationDataset', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='PSNR')]
test_evaluator = [dict(type='PSNR'), dict(type='Colorfulness')]
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-2))
