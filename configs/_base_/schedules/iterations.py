# Training by iterations, in bfloat16 on any device; a recipe says how many, and how the rate falls.
train_cfg = dict(type='ResumableIterLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
log_processor = dict(by_epoch=False)
