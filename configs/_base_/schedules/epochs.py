# Training by epochs, validated after each; a recipe says how many, and its optimizer.
train_cfg = dict(type='EpochBasedTrainLoop', val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper')
# `--auto-scale-lr` scales the learning rate with the batch of all processes.
auto_scale_lr = dict(enable=False)
