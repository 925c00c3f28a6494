# The published networks.
model = dict(
    type='SemanticColorizer',
    segment_net=dict(type='GridSegmenter', width=1.0),
    color_net=dict(type='SemanticColorNet', width=1.0),
)
