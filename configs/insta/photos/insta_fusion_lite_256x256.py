# The whole system on the light backbone at 256 x 256, the size at which the weights that ship are used and measured.
#   python tools/test.py configs/insta/photos/insta_fusion_lite_256x256.py CHECKPOINT --cfg-options \
#       test_dataloader.dataset.data_root=PHOTOS test_dataloader.dataset.gt_instances=TRUE.json \
#       test_dataloader.dataset.instances=BOXES.json
_base_ = ['./insta_fusion_lite_128x128.py']

load_from = 'work_dirs/insta_fusion_lite_128x128/iter_600.pth'
input_size = 256
# It shares the encoder with these weights and ships beside them.
detector = dict(_delete_=True, type='EmbeddedDetector')
train_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.train_pipeline]
val_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.val_pipeline]
# The truth has this size, so nothing is brought back to it.
small_truth = dict(type='ResizePhoto', size=128, keep_truth=True)
test_pipeline = [
    {**step, 'size': 256} if 'size' in step else step for step in _base_.test_pipeline if step != small_truth
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
