# AdamW at 1e-5 for a batch of 64, warmed up over 5 of 100 epochs and falling to a tenth by a cosine. Rates that fall
# by 0.75 from each block of the encoder to the one before are in the published codes of the family, where a rule that
# misses all names leaves them without effect; here they have it.
_base_ = '../../../_base_/schedules/epochs.py'
max_epochs = 100
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-5, eps=1e-8, weight_decay=0.05),
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(layer_decay=0.75),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.1,
        begin=5,
        T_max=max_epochs - 5,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=64)
# Networks with dropout: a run that is resumed draws the same numbers.
custom_hooks = [dict(type='StepSeedHook')]
