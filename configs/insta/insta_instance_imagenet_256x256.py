# Stage 2 of the paper on ImageNet: the instance network on crops of detected objects, from stage 1, at 256 x 256.
#   python tools/train.py configs/insta/insta_instance_imagenet_256x256.py
# Validation is on crops. Not measured here; the paper gives no figures for this stage alone.
_base_ = [
    '../_base_/default_runtime.py',
    './_base_/models/insta_instance.py',
    '../_base_/datasets/imagenet.py',
    './_base_/pipelines/instance_256x256.py',
    './_base_/schedules/instance_5e.py',
]
load_from = 'work_dirs/insta_full_imagenet_256x256/epoch_2.pth'
train_dataloader = dict(
    dataset=dict(
        instances='data/imagenet/detections_train.json',
        filter_cfg=dict(min_instances=1),
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        instances='data/imagenet/detections_val.json',
        filter_cfg=dict(min_instances=1),
        pipeline={{_base_.val_pipeline}},
    )
)
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}))
