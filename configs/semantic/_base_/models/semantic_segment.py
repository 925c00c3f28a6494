# The published segmenter by itself.
model = dict(type='SemanticSegmenter', segment_net=dict(type='GridSegmenter', width=1.0))
