# The full method with latents of a small autoencoder as targets: 2 frames x 16 channels. A stand-in
# for VA-VAE where there are no weights; tools/run_ablations.py trains it on the demo's own frames.
_base_ = '../nextvid/vit-tiny_demo.py'

model = dict(
    target_generator=dict(
        _delete_=True,
        type='DiffusersVAETarget',
        checkpoint='data/demo_autoencoder',
        patch_size=16,
        tubelet_size=2,
        architecture=dict(
            down_block_types=['DownEncoderBlock2D'] * 5,
            up_block_types=['UpDecoderBlock2D'] * 5,
            block_out_channels=[16, 32, 32, 64, 64],
            layers_per_block=1,
            latent_channels=16,
            norm_num_groups=8,
        ),
    ),
    head=dict(decoder=dict(target_channels=32)),
)
