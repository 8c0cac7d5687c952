# The demo's pretraining, unchanged, on the videos of python -m benchmarks.worlds. Every row of the
# ablations does the same: tools/run_ablations.py --cfg-options with the two paths below.
# $BODIES may name another folder of such videos.
_base_ = '../../configs/nextvid/vit-tiny_demo.py'

root = '{{$BODIES:data/bodies}}/'
video_pipeline = [
    dict(step, cache_dir=root + 'cache') if 'cache_dir' in step else step
    for step in _base_.video_pipeline
]
train_dataloader = dict(
    dataset=dict(
        sources=[
            dict(
                name='videos',
                weight=1.0,
                dataset=dict(
                    type='mmaction.VideoDataset',
                    ann_file=root + 'how/train.txt',
                    data_prefix=dict(video=root + 'videos_train'),
                    pipeline=video_pipeline,
                ),
            ),
        ],
    ),
)
