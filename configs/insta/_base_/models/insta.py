# The paper's three networks. Prediction uses those that the checkpoint holds.
model = dict(
    type='InstColorizer',
    image_net=dict(type='ColorizationBackbone', width=1.0),
    instance_net=dict(type='ColorizationBackbone', width=1.0),
    fusion_net=dict(type='FusionNetwork', width=1.0, fusion=dict(type='InstanceFusion')),
    losses=dict(ab=dict(type='HuberLoss')),
)
# The paper's detector: a Mask R-CNN with an X101-64x4d FPN, by mmdet's name. 'auto' tries it first.
detector = dict(type='MMDetDetector')
# Side of the squares that the networks see.
input_size = 256
