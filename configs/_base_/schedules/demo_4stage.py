# The four stages at the scale of a laptop: hundreds of steps instead of 132K.
train_cfg = dict(
    type='StageTrainLoop',
    stages=[
        dict(
            name='warm-up',
            steps=80,
            lr=(1e-4, 1e-3),
            tau_samples=2,
            num_frames=16,
            batch_size=32,
            ema_momentum=0.99,
        ),
        dict(
            name='stable 1',
            steps=240,
            lr=(1e-3, 9e-4),
            tau_samples=1,
            num_frames=16,
            batch_size=32,
            ema_momentum=0.99,
        ),
        dict(
            name='stable 2',
            steps=320,
            lr=(9e-4, 2e-4),
            flow_lr=8e-4,
            tau_samples=1,
            num_frames=16,
            batch_size=32,
            ema_momentum=0.99,
        ),
        dict(
            name='cool-down',
            steps=80,
            lr=(2e-4, 1e-5),
            flow_lr=3e-4,
            tau_samples=1,
            num_frames=24,
            batch_size=16,
            ema_momentum=0.99,
        ),
    ],
)
param_scheduler = dict(type='StageParamScheduler')
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='StageOptimWrapperConstructor',
    dtype='auto',  # bfloat16 where the processor is faster in it
    optimizer=dict(type='AdamW', lr=0.0, betas=(0.9, 0.95), weight_decay=0.04, fused=True),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
