import pytest
import torch

from nextvid_mm.models.backbones import PerFrameViT

SMALL = dict(embed_dim=24, depth=2, num_heads=2, img_size=32)


def build(**changes):
    encoder = PerFrameViT(**(dict(model='vit_tiny_patch16_224', timm_kwargs=SMALL) | changes))
    encoder.init_weights()
    return encoder.eval()


def test_every_frame_is_encoded_by_itself():
    encoder, clip = build(), torch.rand(2, 3, 3, 32, 48)
    (tokens,) = encoder.encode_layers(clip)
    assert tokens.shape == (2, 3, 6, 24)
    alone = encoder.encode_layers(clip[:, :, 1:2])[-1]
    torch.testing.assert_close(tokens[:, 1:2], alone)
    assert encoder(clip).shape == (2, 24, 3, 2, 3)


def test_frames_can_be_left_out():
    clip = torch.rand(1, 3, 5, 32, 32)
    every, second = build(), build(frame_step=2)
    second.load_state_dict(every.state_dict())
    torch.testing.assert_close(
        second.encode_layers(clip)[-1], every.encode_layers(clip)[-1][:, ::2]
    )


def test_the_last_layers_are_normalised_and_in_order():
    encoder, clip = build(), torch.rand(1, 3, 2, 32, 32)
    first, last = encoder.encode_layers(clip, last=2)
    torch.testing.assert_close(last, encoder.encode_layers(clip)[-1])
    torch.testing.assert_close(first.mean(-1), torch.zeros(1, 2, 4), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match='last=3 layers asked of an encoder with 2'):
        encoder.encode_layers(clip, last=3)


def test_models_without_patch_tokens_and_unknown_ones_are_refused():
    with pytest.raises(TypeError, match='resnet18.*no ViT'):
        PerFrameViT('resnet18', timm_kwargs=dict(dynamic_img_size=None))
    with pytest.raises(ValueError, match='vit_nothing.*unknown to timm'):
        PerFrameViT('vit_nothing')
