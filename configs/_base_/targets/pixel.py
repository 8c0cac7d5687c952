# Pooled pixels: 2 frames x 3 colours x (16 / 4)^2 = 96 channels. No weights. See docs/targets.md.
target_generator = dict(
    _delete_=True, type='PixelTarget', patch_size=16, tubelet_size=2, pool=4, std=0.5
)
target_head = dict(decoder=dict(target_channels=96))
