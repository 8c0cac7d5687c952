# The full method at the scale of the paper's ablations: ViT-L, 15K steps (arXiv 2512.21004). Only
# the number of steps is published; the two stages are the run's first and last learning rates.
_base_ = '../../nextvid/vit-l_4stage.py'

_shared = dict(
    tau_samples=4, num_frames=16, batch_size=3072, micro_batch_size=32, ema_momentum=0.99925
)
train_cfg = dict(
    stages=[
        dict(name='warm-up', steps=3_000, lr=(1e-4, 5e-4), **_shared),
        dict(name='decay', steps=12_000, lr=(5e-4, 1e-6), **_shared),
    ]
)
