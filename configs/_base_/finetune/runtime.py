# Fine-tuning: what all datasets share, on models, pipelines and metrics of MMAction2 and
# MMPretrain. The values are usual ones for video transformers; nobody has tuned them here.
default_scope = 'nextvid_mm'
custom_imports = dict(imports=['nextvid_mm'])

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='auto',  # bfloat16 where the processor is faster in it
    # Rates fall by layer_decay_rate from the head to the first block.
    constructor='LayerDecayConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'classifier.query': dict(decay_mult=0.0),
            'classifier.norm': dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=128)

# `batch_size` of training is that of all processes together, see _base_/probe/attentive.py.
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
# MMEngine's epoch loop, whose runs continue exactly after a kill.
train_cfg = dict(type='ExactEpochLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=None,  # ExactEpochLoop does it
    checkpoint=dict(type='SafeCheckpointHook', interval=500, max_keep_ckpts=2),
    visualization=dict(type='ClipVisualizationHook'),
)
# MMEngine's average of the weights: validation, checkpoints and results are of the average.
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3),
    dict(type='FaultHook'),
]
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
