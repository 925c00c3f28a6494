# Fusion in encoder and decoder, learned weights, the best eight boxes: the paper's system, the row that Tables 3a, 3b
# and 3c share. The paper reports 28.592 dB on COCO-Stuff val.
_base_ = '../insta_fusion_cocostuff_256x256.py'
