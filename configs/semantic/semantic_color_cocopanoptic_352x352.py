# Semantic-driven colorization: training stage 2, prediction and testing.
#   python demo/colorization_demo.py configs/semantic/semantic_color_cocopanoptic_352x352.py FOLDER --img photo.jpg
#   python tools/train.py configs/semantic/semantic_color_cocopanoptic_352x352.py --cfg-options load_from=SEGMENTER.pth
#   python tools/test.py configs/semantic/semantic_color_cocopanoptic_352x352.py CHECKPOINT
# FOLDER holds the two published files under any names; SEGMENTER.pth is what stage 1 leaves. True maps and those of the
# segmenter, which stays as it is, teach the colour network. The paper's data, losses and schedule are not known; these
# are ours. Nobody has run it at full length.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/semantic_color.py',
    '../_base_/datasets/cocopanoptic.py',
    './_base_/pipelines/semantic_352x352.py',
    './_base_/schedules/semantic_100k.py',
]
train_dataloader = dict(dataset=dict(pipeline={{_base_.color_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
