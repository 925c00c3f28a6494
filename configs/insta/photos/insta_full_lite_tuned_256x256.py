# Stage 1 of the light backbone at 256 x 256, the size at which the weights that ship are used and measured.
#   python tools/test.py configs/insta/photos/insta_full_lite_tuned_256x256.py CHECKPOINT
_base_ = ['./insta_full_lite_tuned_128x128.py']

load_from = 'work_dirs/insta_full_lite_tuned_128x128/iter_1000.pth'
input_size = 256
train_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.train_pipeline]
val_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.val_pipeline]
# The truth has this size, so nothing is brought back to it.
small_truth = dict(type='ResizePhoto', size=128, keep_truth=True)
test_pipeline = [
    {**step, 'size': 256} if 'size' in step else step for step in _base_.test_pipeline if step != small_truth
]
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
