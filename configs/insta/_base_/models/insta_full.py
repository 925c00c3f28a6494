# Stage 1: the full-image network alone.
model = dict(
    type='ImageColorizer',
    image_net=dict(type='ColorizationBackbone', width=1.0),
    losses=dict(ab=dict(type='HuberLoss')),
)
# The paper's detector, a Mask R-CNN with an X101-64x4d FPN by mmdet's name, for prediction with a checkpoint that holds
# all three networks.
detector = dict(type='MMDetDetector')
