default_scope = 'insta_colorization'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='ColorizationVisualizationHook'),
    # Here and not in `custom_hooks`, a list that a recipe with hooks of its own replaces.
    invalid_loss=dict(type='InvalidLossHook'),
    mean_loss=dict(type='MeanLossHook'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
# A run that is stopped and resumed has the same seed as one that is not, and so the same order of photos.
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
log_level = 'INFO'
load_from = None
resume = False
