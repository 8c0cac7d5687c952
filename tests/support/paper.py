"""What the paper (arXiv 2512.21004) publishes of its run, written down once for the tests."""

STAGES = (  # Table 8
    dict(name='warm-up', steps=12_000, lr=(1e-4, 5e-4), flow_lr=None, tau_samples=4, num_frames=16,
         batch_size=3072),
    dict(name='stable 1', steps=28_000, lr=(5e-4, 4.5e-4), flow_lr=None, tau_samples=4,
         num_frames=16, batch_size=3072),
    dict(name='stable 2', steps=80_000, lr=(4.5e-4, 1e-4), flow_lr=8e-4, tau_samples=1,
         num_frames=16, batch_size=3072),
    dict(name='cool-down', steps=12_000, lr=(1e-4, 1e-6), flow_lr=3e-4, tau_samples=1,
         num_frames=64, batch_size=768),
)  # fmt: skip
SHARES = dict(imagenet=0.25, ssv2=0.05, kinetics400=0.18, internvid=0.20, own=0.32)  # Table 6
MASKS = ((8, 0.15), (2, 0.7))  # blocks and their part of a frame, per strategy
ASPECT_RATIO = (0.75, 1.5)
