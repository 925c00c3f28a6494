# Stage 1 of the light backbone, second part: the encoder's blocks from stride 8 on train along, at a fifth of the rate.
#   python tools/train.py configs/insta/photos/insta_full_lite_tuned_128x128.py
_base_ = ['./insta_full_lite_128x128.py']

load_from = 'work_dirs/insta_full_lite_128x128/iter_300.pth'
upper_blocks = [f'encoder.blocks.{index}' for index in range(2, 7)]
model = dict(
    trainable=[f'image_net.{part}' for part in [*upper_blocks, *_base_.decoder_parts]],
    # What a mean PSNR measures; colour comes back by the presets' gains, where the network is sure of it.
    losses=dict(ab=dict(loss_weight=4.0), photos=dict(type='LogErrorLoss', loss_weight=0.8)),
)
max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'image_net.encoder': dict(lr_mult=0.2)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=60),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=60, T_max=max_iters - 60, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
