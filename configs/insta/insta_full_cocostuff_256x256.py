# Stage 1 of the paper on COCO-Stuff: the full-image network, from siggraph17's weights (`load_from`), at 256 x 256.
#   python tools/train.py configs/insta/insta_full_cocostuff_256x256.py --cfg-options load_from=latest_net_G.pth
# Not measured here. The paper reports 27.251 dB PSNR on COCO-Stuff val after this stage (Table 4, fine-tuned).
_base_ = [
    './_base_/default_runtime.py',
    './_base_/models/insta_full.py',
    './_base_/datasets/cocostuff_256x256.py',
    './_base_/schedules/stage1_2e.py',
]
