# Stage 3 of the paper on ImageNet: the fusion of both networks, from stage 2, at 256 x 256.
#   python tools/train.py configs/insta/insta_fusion_imagenet_256x256.py
#   python demo/colorization_demo.py configs/insta/insta_fusion_imagenet_256x256.py CHECKPOINT --img photo.jpg
# Not measured here; the paper reports 27.562 dB PSNR on ctest10k, fine-tuned on COCO-Stuff (Table 1).
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/insta_fusion.py',
    '../_base_/datasets/imagenet.py',
    './_base_/pipelines/fusion_256x256.py',
    './_base_/schedules/fusion_2e.py',
]
load_from = 'work_dirs/insta_instance_imagenet_256x256/epoch_5.pth'
train_dataloader = dict(
    dataset=dict(
        instances='data/imagenet/detections_train.json',
        filter_cfg=dict(min_instances=1),
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(dataset=dict(instances='data/imagenet/detections_val.json', pipeline={{_base_.val_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
