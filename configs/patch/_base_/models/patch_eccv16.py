# The network of Zhang, Isola, Efros 2016 for photo and crops.
model = dict(type='PatchColorizer', eccv_net=dict(type='Eccv16Network', width=1.0), losses={})
# The nearest that mmdet has to the published detector, Detectron2's Mask R-CNN R101-FPN 3x, with its two thresholds.
detector = dict(
    type='MMDetDetector',
    config='mask-rcnn_r101_fpn_ms-poly-3x_coco',
    score_thr=0.3,
    cfg_options={'model.test_cfg.rcnn.nms.iou_threshold': 0.3},
)
