# ViT-L/16 encoder, VA-VAE latents as targets: arXiv 2512.21004, Table 7.
# `compile`, `with_cp` and each config's `micro_batch_size` are what is fastest on GPUs of 80 GB by
# tools/plan_memory.py --gpu 80; not measured.
# Decides these rows of docs/choices.md: queries, alignment, loss mean,
# sizes, latents.
model = dict(
    type='NextVid',
    data_preprocessor=dict(
        type='ClipPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW',
    ),
    backbone=dict(
        type='CausalViT', arch='large', img_size=256, patch_size=16, tubelet_size=2, with_cp=False
    ),
    neck=dict(
        type='QFormerPredictor',
        in_channels=1024,
        embed_dims=384,
        depth=12,
        num_heads=12,
        with_cp=False,
    ),
    head=dict(
        type='FlowMatchingHead',
        # Two frames of 32 latent channels each make one target token.
        decoder=dict(
            target_channels=64,
            condition_channels=384,
            embed_dims=384,
            depth=12,
            num_heads=12,
            timestep_scale=1000.0,
            # Four tau samples make the decoder keep more than the encoder.
            with_cp=False,
        ),
        loss_weight=0.5,
    ),
    align_head=dict(type='AlignHead', in_channels=384, out_channels=1024, loss_weight=1.0),
    target_generator=dict(
        type='VAVAETarget',
        checkpoint='checkpoints/vavae-imagenet256-f16d32-dinov2.pt',
        statistics='checkpoints/latents_stats.pt',
        patch_size=16,
        tubelet_size=2,
    ),
    reference=dict(type='EMAReference'),
    queries='hidden',
    compile=True,
)
