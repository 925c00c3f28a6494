# Stage 3 of the light backbone: the fusions at the two coarsest rows of the encoder and at all of the decoder and, at
# half their rate, two decoders: the fusion network's, whose features are blends now, and the instance network's, which
# learns what the whole photo does not tell. The three encoders are the same.
#   python tools/train.py configs/insta/photos/insta_fusion_lite_128x128.py
_base_ = ['./insta_instance_lite_128x128.py']

load_from = 'work_dirs/insta_instance_lite_128x128/iter_400.pth'
# Of the instance network's decoder what the fusions see: its heads are for its own colours, which stage 2 trained.
blended_parts = [part for part in _base_.decoder_parts if not part.endswith('head')]
decoders = [f'fusion_net.{part}' for part in _base_.decoder_parts]
decoders += [f'instance_net.{part}' for part in blended_parts]
# Finer rows of the encoder have little colour to tell, and the whole photo shows them sharper than a resized crop does.
model = dict(
    type='InstColorizer',
    fusion_net=dict(
        type='FusionNetwork',
        backbone=dict(type='LiteBackbone'),
        fused=['enc16', 'enc32', 'up16', 'up8', 'up4'],
        fusion=dict(feather=0.25, padded=False),
    ),
    trainable=['fusion_net.fusions', *decoders],
    norm_eval=True,
    losses=dict(ab=dict(loss_weight=3.0), photos=dict(loss_weight=1.0, instance_share=0.6)),
)
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadInstances'),
    dict(type='RandomFlipPhoto'),
    dict(type='SelectInstances', top_k=8, min_size=16, required=True),
    dict(type='RandomInstanceWindows', scale=(0.8, 2.0), prob=0.5),
    dict(type='AgePhoto'),
    dict(type='CropInstances', size=128),
    dict(type='ResizePhoto', size=128),
    dict(type='SampleHints'),
    dict(type='PackColorization', inputs=['gray', 'crop_gray', 'hint_regions']),
]
val_pipeline = [
    dict(type='CropInstances', size=128) if step.type == 'CropToInstance' else step for step in _base_.val_pipeline
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
rates = {part: dict(lr_mult=0.5) for part in decoders}
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=rates))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=40, T_max=max_iters - 40, end=max_iters),
]
