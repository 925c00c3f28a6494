# Fusion in the encoder only, conv1 to conv7 (Table 3a). The paper reports 28.146 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
model = dict(fusion_net=dict(fused='encoder'))
