# Fusion nowhere: the full-image network, its last two layers trained as in the other rows (Table 3a).
# The paper reports 27.251 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
model = dict(trainable=['fusion_net.stages.conv10', 'fusion_net.ab_head'], fusion_net=dict(fused='none'))
