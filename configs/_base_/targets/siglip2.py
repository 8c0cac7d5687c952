# Features of SigLIP 2 base, patch 16: 2 frames x 768 channels. See docs/targets.md, also for how to
# compute their statistics.
target_generator = dict(
    _delete_=True,
    type='SigLIP2Target',
    checkpoint='checkpoints/siglip2-base-patch16-256',
    statistics='checkpoints/siglip2_stats.pt',
    patch_size=16,
    tubelet_size=2,
    architecture=dict(image_size=256, patch_size=16),
)
# More channels than the decoder is wide: their noise would not pass through it, so that the network
# predicts the clean target and the velocity follows from it.
target_head = dict(prediction='clean', decoder=dict(target_channels=1536))
