# Places205: its validation photos, which the paper only tests on. docs/datasets.md says where to get them; boxes are
# detected once:
#   python tools/detect_instances.py mmdet data/places205/val --recursive --out data/places205/detections_val.json
_base_ = '../evaluators/test_metrics.py'
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ColorizationDataset',
        data_root='data/places205/val',
        instances='data/places205/detections_val.json',
        test_mode=True,
    ),
)
