# Fine-tuning on videos: model, loaders and metric.
_base_ = './runtime.py'

model = dict(
    type='mmaction.Recognizer3D',
    backbone=dict(
        type='nextvid_mm.CausalViT',
        arch='large',
        drop_path_rate=0.1,
        with_cp=True,
        # 'all', a number of last blocks, or 'norms_and_biases'.
        tuned='all',
        # A checkpoint of tools/train.py or a file of tools/convert_checkpoint.py.
        init_cfg=dict(type='nextvid_mm.EncoderWeights', checkpoint=None),
    ),
    # pool='mean' for the mean of all tokens; heads of MMAction2 such as I3DHead work, too.
    cls_head=dict(
        type='nextvid_mm.ClipHead', in_channels=1024, pool='attentive', label_smooth_eps=0.1
    ),
    data_preprocessor=dict(
        type='mmaction.ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW',
    ),
    # Views that pass through the encoder at once in testing; its loader gives one video at a time.
    test_cfg=dict(max_testing_views=6),
)

decode = dict(type='nextvid_mm.ReadFrames')
pack = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]

train_dataloader = dict(batch_size=128, dataset=dict(dataset=dict(type='ClipListDataset')))
val_dataloader = dict(
    batch_size=1, dataset=dict(dataset=dict(type='ClipListDataset', test_mode=True))
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='ReadableAccMetric', metric_list=('top_k_accuracy', 'mean_class_accuracy')
)
test_evaluator = val_evaluator
