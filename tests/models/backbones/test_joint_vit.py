import pytest
import torch

from nextvid_mm.models.backbones.joint_vit import POSITIONS, JointViT, sinusoid_table

ARCH = dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0)


def build(**changes):
    settings = dict(arch=ARCH, pretrain_size=16, pretrain_frames=4, patch_size=8) | changes
    encoder = JointViT(**settings)
    encoder.init_weights()
    if encoder.positions == 'learned':
        torch.nn.init.normal_(encoder.pos_embed)
    return encoder.eval()


@pytest.mark.parametrize('positions', POSITIONS)
def test_shapes_of_any_clip_and_the_map(positions):
    encoder = build(positions=positions)
    for frames, height, width in ((4, 16, 16), (6, 24, 16), (2, 16, 16)):
        clip = torch.rand(2, 3, frames, height, width) * 2 - 1
        first, last = encoder.encode_layers(clip, last=2)
        assert first.shape == last.shape == (2, frames // 2, height * width // 64, 24)
        map_shape = (2, 24, frames // 2, height // 8, width // 8)
        assert encoder(clip).shape == map_shape
        torch.testing.assert_close(encoder(clip).flatten(3).permute(0, 2, 3, 1), last)


@pytest.mark.parametrize('positions', POSITIONS)
def test_every_token_sees_every_other_and_positions_matter(positions):
    encoder = build(positions=positions)
    clip = torch.rand(1, 3, 4, 16, 16)
    moved = clip.clone()
    moved[:, :, 2:] += 0.5  # the second tubelet
    change = encoder.encode_layers(moved)[-1] - encoder.encode_layers(clip)[-1]
    assert (change[:, 0].abs().amax(-1) > 1e-6).all()  # reaches every token of the first
    swapped = clip[:, :, [2, 3, 0, 1]]
    back = encoder.encode_layers(swapped)[-1][:, [1, 0]]
    assert not torch.allclose(back, encoder.encode_layers(clip)[-1], atol=1e-6)


def test_the_final_norm_is_left_out_on_request():
    tokens = build(final_norm=False).encode_layers(torch.rand(1, 3, 4, 16, 16))[-1]
    assert not torch.allclose(tokens.mean(-1), torch.zeros(()), atol=1e-3)
    assert 'norm.weight' not in build(final_norm=False).state_dict()


def test_longer_clips_go_on_counting():
    torch.testing.assert_close(sinusoid_table(12, 8)[:, :6], sinusoid_table(6, 8))
    assert sinusoid_table(3, 4)[0, 0].tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(positions='none'), "positions='none' of JointViT is not one of sinusoid, learned"),
        (dict(pretrain_size=20), 'patch_size=8'),
        (dict(std=(0.5, 0.5, 0.0)), 'std above 0'),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_more_layers_than_there_are():
    with pytest.raises(ValueError, match='last=3 layers asked of an encoder with 2'):
        build().encode_layers(torch.rand(1, 3, 4, 16, 16), last=3)
