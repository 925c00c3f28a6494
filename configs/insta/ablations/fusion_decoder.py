# Fusion in the decoder only, up8 to conv10 (Table 3a). The paper reports 27.959 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
model = dict(fusion_net=dict(fused='decoder'))
