# The whole system of the paper: full-image, instance and fusion network at 256 x 256, for prediction with the published
# weights.
#   python demo/colorization_demo.py configs/insta/insta_fusion_cocostuff_256x256.py CHECKPOINT --img photo.jpg
_base_ = ['./_base_/default_runtime.py', './_base_/models/insta.py', './_base_/datasets/cocostuff_256x256.py']
