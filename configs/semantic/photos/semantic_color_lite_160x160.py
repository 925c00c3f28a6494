# Training stage 2 on the light backbone: the colour network that ships learns to follow a map, on the frozen encoder.
#   python tools/train.py configs/semantic/photos/semantic_color_lite_160x160.py
# It takes photos with and without maps: data/semantic holds those of stage 1 and links to more; what no map says, the
# segmenter of stage 1 does.
_base_ = ['./semantic_segment_lite_160x160.py']

load_from = 'work_dirs/semantic_segment_lite_160x160/iter_700.pth'
model = dict(
    _delete_=True,
    type='SemanticColorizer',
    segment_net=dict(type='LiteSegmenter'),
    color_net=dict(type='LiteColorNet', weights=_base_.start),
    losses=dict(ab=dict(type='HuberLoss', loss_weight=11.0, beta=5 / 110, chroma_weight=4.4)),
    trainable=[f'color_net.{part}' for part in [*_base_.decoder_parts, 'map_code', 'ab_head']],
    # The network believes the photo more than the map: a grass that is called ground stays half green.
    map_guidance=2.0,
    presets=dict(
        safe=dict(type='RegressionDecoder'),
        natural=dict(type='RegressionDecoder', gain=1.2, expansion=0.3),
        vivid=dict(type='RegressionDecoder', gain=1.6, expansion=0.5),
    ),
)
train_pipeline = [
    dict(type='LoadPhoto', min_ab_range=10),
    dict(type='LoadSemanticMap', folder=_base_.maps, required=False),
    # A quarter of the maps are left to the segmenter, besides those of the photos that have none.
    dict(type='ForgetMap', prob=0.25),
    dict(type='RandomCropPhoto', min_side=0.6),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=160),
    dict(type='AgePhoto'),
    dict(type='PackColorization', inputs=['gray']),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = [dict(type='SemanticIoU'), dict(type='ClassColourError'), dict(type='PSNR', levels=['image'])]
test_evaluator = [
    dict(type='SemanticIoU'),
    dict(type='ClassColourError'),
    dict(type='PSNR'),
    dict(type='Colorfulness'),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
