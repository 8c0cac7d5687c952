# Attentive probes on a frozen encoder: arXiv 2512.21004, Tables 9 and 10. The dataset's config
# adds classes, segments, data and epochs.
# Decides these rows of docs/choices.md: encoder, probe optimiser.
default_scope = 'nextvid_mm'
custom_imports = dict(imports=['nextvid_mm'])

model = dict(
    type='nextvid_mm.ProbeRecognizer',
    # The checkpoint whose encoder is probed; its configuration is read from there, unless
    # `backbone` gives one, which then must agree.
    encoder=None,
    # 'reference' (EMA), 'encoder', or 'untrained' for the baseline.
    encoder_weights='reference',
    backbone=None,
    last_layers=1,
    clips_per_pass=32,
    # bfloat16 where the hardware computes in it, else float32.
    dtype='auto',
    data_preprocessor=dict(
        type='mmaction.ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW',
    ),
    cls_head=dict(
        type='nextvid_mm.ProbeHead',
        num_heads=16,
        mlp_ratio=4.0,
        # The paper gives no optimiser. As in V-JEPA 2, a grid is trained on the same features.
        lrs=[5e-3, 3e-3, 1e-3, 3e-4, 1e-4],
        weight_decays=[0.01, 0.1, 0.4, 0.8],
        standardize=True,
    ),
)

# Learning rates and weight decays are the head's.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='ProbeOptimWrapperConstructor',
    optimizer=dict(type='GridAdamW', betas=(0.9, 0.999)),
)

# The dataset's config adds batch sizes, and list and pipeline inside of `dataset.dataset`.
# `batch_size` is a batch of the optimiser in training, of all processes together, as published
# (ExactEpochLoop divides it); in validation it is what each process loads at a time, as everywhere
# in MMEngine, and changes memory, not results.
train_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(type='LabelledDataset'),
)
val_dataloader = dict(
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='LabelledDataset', test_mode=True),
)
test_dataloader = val_dataloader
# Learning rates fall to 0 at the last step, whatever max_epochs is.
train_cfg = dict(type='ExactEpochLoop')
param_scheduler = dict(
    type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True
)

# Test and validation are the same data: the test labels of these datasets are not public.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = dict(type='ProbeMetric', topk=(1, 5))
test_evaluator = val_evaluator

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=None,  # ExactEpochLoop does it
    checkpoint=dict(type='SafeCheckpointHook', interval=500, max_keep_ckpts=2),
    visualization=dict(type='ClipVisualizationHook'),
)
custom_hooks = [dict(type='ProbeHook'), dict(type='FaultHook')]
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl')
)
visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
)
log_processor = dict(type='LogProcessor', by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
