# VA-VAE, f16d32, the paper's targets: 2 frames x 32 channels. See docs/targets.md.
target_generator = dict(
    _delete_=True,
    type='VAVAETarget',
    checkpoint='checkpoints/vavae-imagenet256-f16d32-dinov2.pt',
    statistics='checkpoints/latents_stats.pt',
    patch_size=16,
    tubelet_size=2,
)
target_head = dict(decoder=dict(target_channels=64))
