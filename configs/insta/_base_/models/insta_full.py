# Stage 1: the full-image network alone.
model = dict(
    type='ImageColorizer',
    image_net=dict(type='ColorizationBackbone', width=1.0),
    losses=dict(ab=dict(type='HuberLoss')),
)
# The paper's detector, for prediction with a checkpoint that holds all three networks.
detector = dict(type='MMDetDetector')
# Side of the squares that the networks see.
input_size = 256
