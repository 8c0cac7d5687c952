# The demo's model: 64 px clips on a laptop CPU. Predictor and decoder are one block deep: what they
# cannot work out themselves, the encoder has to.
model = dict(
    type='NextVid',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW',
    ),
    backbone=dict(
        type='CausalViT',
        arch=dict(embed_dims=128, depth=4, num_heads=4, mlp_ratio=4.0),
        img_size=64,
        patch_size=16,
        tubelet_size=2,
    ),
    neck=dict(type='QFormerPredictor', in_channels=128, embed_dims=128, depth=1, num_heads=4),
    head=dict(
        type='FlowMatchingHead',
        # Fewer target channels than the decoder is wide, or their noise does not pass through it.
        decoder=dict(
            target_channels=96, condition_channels=128, embed_dims=128, depth=1, num_heads=4
        ),
        loss_weight=0.5,
    ),
    align_head=dict(type='AlignHead', in_channels=128, out_channels=128, loss_weight=1.0),
    # 2 frames x 3 colours x (16 / 4)^2 pooled pixels = 96 channels.
    target_generator=dict(type='PixelTarget', patch_size=16, tubelet_size=2, pool=4, std=0.5),
    reference=dict(type='EMAReference'),
    # Visible patches, too: what a hidden one shows can be known only roughly, where a visible one
    # moves exactly, and a short run learns motion from that.
    queries='all',
)
