# The paper's stage 1: Adam (0.99, 0.999), 2 epochs at 1e-5.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5, betas=(0.99, 0.999)))
# What the learning rate is meant for; `--auto-scale-lr` scales it with the batch of all processes.
auto_scale_lr = dict(enable=False, base_batch_size=16)
