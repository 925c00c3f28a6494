# The paper's stage 3: Adam (0.99, 0.999), 2 epochs at 2e-5.
_base_ = '../../../_base_/schedules/epochs.py'
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-5, betas=(0.99, 0.999)))
# What the learning rate is meant for.
auto_scale_lr = dict(base_batch_size=16)
