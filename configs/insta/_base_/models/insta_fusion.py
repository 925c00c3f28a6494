# Stage 3 and prediction: all three networks. By default the fusions and the last two layers train; for the fusions
# alone, as the paper's text has it, `trainable=['fusion_net.fusions']`.
_base_ = './insta_instance.py'
model = dict(type='InstColorizer', fusion_net=dict(type='FusionNetwork', width=1.0, fusion=dict(type='InstanceFusion')))
