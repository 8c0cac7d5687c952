# The four stages of arXiv 2512.21004, Table 8. This table is the only place with horizons: the
# number of steps, every learning rate, the loader and gradient accumulation follow from it.
# Decides these rows of docs/choices.md: clips, tokens, rates,
# decoder's rate, decay, autocast.
_shared = dict(ema_momentum=0.99925)

train_cfg = dict(
    type='StageTrainLoop',
    stages=[
        dict(
            name='warm-up',
            steps=12_000,
            lr=(1e-4, 5e-4),
            tau_samples=4,
            num_frames=16,
            batch_size=3072,
            micro_batch_size=32,
            **_shared,
        ),
        dict(
            name='stable 1',
            steps=28_000,
            lr=(5e-4, 4.5e-4),
            tau_samples=4,
            num_frames=16,
            batch_size=3072,
            micro_batch_size=32,
            **_shared,
        ),
        dict(
            name='stable 2',
            steps=80_000,
            lr=(4.5e-4, 1e-4),
            flow_lr=8e-4,
            tau_samples=1,
            num_frames=16,
            batch_size=3072,
            micro_batch_size=32,
            **_shared,
        ),
        dict(
            name='cool-down',
            steps=12_000,
            lr=(1e-4, 1e-6),
            flow_lr=3e-4,
            tau_samples=1,
            num_frames=64,
            batch_size=768,
            micro_batch_size=8,
            **_shared,
        ),
    ],
)
param_scheduler = dict(type='StageParamScheduler')
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='StageOptimWrapperConstructor',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=0.0, betas=(0.9, 0.95), weight_decay=0.04, fused=True),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=3072)
