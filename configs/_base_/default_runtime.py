# Everything a run needs that is not model, data or schedule.
default_scope = 'nextvid_mm'
custom_imports = dict(imports=['nextvid_mm'])

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1000, max_keep_ckpts=2),
    watchdog=dict(type='WatchdogHook', limit=1800),
    advice=dict(type='AdviceHook', interval=20),
    goodput=dict(type='GoodputHook', peak_tflops=None),  # of one GPU; None: of its data sheet
)
custom_hooks = [
    dict(type='StageHook'),
    dict(type='EMAHook'),
    dict(type='HealthHook', interval=20),
    dict(type='FaultHook'),
]

env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl')
)
# Of several processes: gradients lie where they are added up, not in copies. Of no use to one.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', broadcast_buffers=False, gradient_as_bucket_view=True
)
visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
