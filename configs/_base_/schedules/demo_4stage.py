# The four stages at the scale of a laptop: hundreds of steps instead of 132K. A short run learns
# most from many small steps; EMA momentum and learning rates suit its length.
_shared = dict(tau_samples=1, num_frames=16, batch_size=16, ema_momentum=0.99)

train_cfg = dict(
    type='StageTrainLoop',
    stages=[
        dict(_shared, name='warm-up', steps=100, lr=(2e-4, 2e-3), tau_samples=2),
        dict(_shared, name='stable 1', steps=500, lr=(2e-3, 1.8e-3)),
        dict(_shared, name='stable 2', steps=700, lr=(1.8e-3, 4e-4), flow_lr=2e-3),
        dict(
            _shared,
            name='cool-down',
            steps=200,
            lr=(4e-4, 1e-5),
            flow_lr=1e-3,
            num_frames=24,
            batch_size=8,
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
auto_scale_lr = dict(enable=False, base_batch_size=16)
