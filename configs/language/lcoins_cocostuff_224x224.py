# L-CoIns as published, for prediction with captions.
#   python demo/colorization_demo.py configs/language/lcoins_cocostuff_224x224.py CHECKPOINT --img photo.jpg \
#       --caption 'a red bus' --native-size
# CHECKPOINT is one of the published code's, of which none was ever published. Not measured here.
_base_ = ['../_base_/default_runtime.py', './_base_/models/lcoins.py']
input_size = 224
