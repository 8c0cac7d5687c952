# Cosmos video autoencoder, 8 frames x 8 x 8 pixels to 16 channels: every frame is shown four times,
# so that a tubelet of two frames is one latent frame of 2 x 2 latents. See docs/targets.md.
target_generator = dict(
    _delete_=True,
    type='CosmosVAETarget',
    checkpoint='checkpoints/cosmos-tokenizer-cv8x8x8',
    patch_size=16,
    tubelet_size=2,
    repeat_frames=4,
    architecture=dict(_class_name='AutoencoderKLCosmos'),
)
target_head = dict(decoder=dict(target_channels=64))
