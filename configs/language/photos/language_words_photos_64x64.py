# A small network of L-CoIns with a table of words in the place of BERT, on one's own photos with captions, for a CPU.
#   python tools/dataset_converters/prepare_photos.py PHOTOS... --out data/captioned
#   python tools/train.py configs/language/photos/language_words_photos_64x64.py
#   python tools/test.py configs/language/photos/language_words_photos_64x64.py CHECKPOINT
# data/captions.json has the captions of the photos by their names; data/test, data/test.json, data/test_captions.json
# are other photos, their true boxes with masks, and their captions.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/captioned_photos.py',
    '../../_base_/schedules/iterations.py',
]
captions = 'data/captions.json'
input_size = 64
model = dict(
    type='LanguageColorizer',
    language_net=dict(
        type='LanguageNetwork',
        encoder_width=128,
        encoder_depth=2,
        encoder_heads=2,
        decoder_width=128,
        decoder_depth=2,
        decoder_heads=2,
        groups=15,
    ),
    text_encoder=dict(type='WordTextEncoder', captions=captions, least=5),
    # Without the classes, whose branch takes most of the time.
    losses=dict(
        ab=dict(type='HuberLoss', loss_weight=11.0, beta=5 / 110, chroma_weight=4.4),
        counter=dict(type='CounterColorLoss', loss_weight=2.0, margin=0.2),
    ),
)
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadCaption', file=captions),
    dict(type='SwapColors'),
    dict(type='RandomCropPhoto', min_side=0.7),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=input_size),
    dict(type='LuminanceJitter'),
    dict(type='PackColorization', inputs=['gray'], meta=['caption', 'counter_caption', 'named_colors']),
]
val_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadCaption', file=captions, which='first', required=False),
    dict(type='ResizePhoto', size=input_size),
    dict(type='PackColorization', meta=['caption']),
]
# How captions are followed is measured on photos with true boxes and masks.
test_pipeline = [
    dict(type='LoadPhoto', keep_broken=True),
    dict(type='LoadInstances', masks=True),
    dict(type='LoadCaption', file='data/test_captions.json', which='first', required=False),
    dict(type='LoadCaptions', file='data/test_captions.json'),
    dict(type='ResizePhoto', size=input_size, keep_truth=True),
    dict(type='PackColorization', meta=['caption', 'captions']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(
    dataset=dict(data_root='data/test', ann_file='', gt_instances='data/test.json', pipeline=test_pipeline)
)
test_evaluator = [dict(type='PSNR', levels=['image']), dict(type='CaptionFollowing')]

max_iters = 2000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# bfloat16 would be slower on processors without instructions for it.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=5e-4, weight_decay=0.05),
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(layer_decay=0.9),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=False, begin=100, T_max=max_iters - 100, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
custom_hooks = [dict(type='StepSeedHook')]
