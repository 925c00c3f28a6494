# Segmenter and colour network on the light backbone at 256 x 256, the size at which the weights that ship are used and
# measured.
#   python tools/test.py configs/semantic/photos/semantic_color_lite_256x256.py CHECKPOINT
_base_ = ['./semantic_color_lite_160x160.py']

load_from = 'work_dirs/semantic_color_lite_160x160/iter_700.pth'
input_size = 256
train_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.train_pipeline]
val_pipeline = [{**step, 'size': 256} if 'size' in step else step for step in _base_.val_pipeline]
train_dataloader = dict(batch_size=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
