# Stage 1 of the paper on COCO-Stuff: the full-image network, from siggraph17's weights, at 256 x 256.
#   python tools/train.py configs/insta/insta_full_cocostuff_256x256.py --cfg-options load_from=latest_net_G.pth
#   python tools/test.py configs/insta/insta_full_cocostuff_256x256.py CHECKPOINT
# It tests a checkpoint of any stage. Not measured here;
# the paper reports 27.251 dB PSNR on COCO-Stuff val after this stage (Table 4, fine-tuned).
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/insta_full.py',
    '../_base_/datasets/cocostuff.py',
    './_base_/pipelines/full_256x256.py',
    './_base_/schedules/full_2e.py',
]
train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.val_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
