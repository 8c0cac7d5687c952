# sd-vae-ft, f8d4: 2 frames x 2 x 2 latents of a patch x 4 channels. See docs/targets.md.
target_generator = dict(
    _delete_=True,
    type='DiffusersVAETarget',
    checkpoint='checkpoints/sd-vae-ft-mse',
    patch_size=16,
    tubelet_size=2,
    architecture=dict(
        down_block_types=['DownEncoderBlock2D'] * 4,
        up_block_types=['UpDecoderBlock2D'] * 4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
        latent_channels=4,
    ),
)
target_head = dict(decoder=dict(target_channels=32))
