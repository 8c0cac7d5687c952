# Which of eight motions; ten labelled clips a motion. All labels: ann_file ending in how/train.txt.
_base_ = '../../configs/probe/demo.py'

root = '{{$BODIES:data/bodies}}/'
model = dict(cls_head=dict(num_classes=8))
test_pipeline = [
    dict(step, cache_dir=root + 'cache') if 'cache_dir' in step else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file=root + 'how/train_10.txt',
            data_prefix=dict(video=root + 'videos_train'),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=test_pipeline,
        dataset=dict(
            ann_file=root + 'how/val.txt',
            data_prefix=dict(video=root + 'videos_val'),
        ),
    ),
)
test_dataloader = val_dataloader
