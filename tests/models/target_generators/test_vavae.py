"""VA-VAE targets against latent diffusion written out, through a file in the released format."""

import pytest
import torch
from ldm import LDM

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

SMALL = dict(patch_size=4, base_channels=32, channel_mult=(1, 2, 2), latent_channels=4)


@pytest.fixture
def released(tmp_path):
    """An autoencoder and its file: wrapped in ``state_dict``, with parts that are not its own."""
    ldm = LDM().eval()
    state = ldm.state_dict() | {
        'loss.logvar': torch.zeros(()),
        'foundation_model.model.cls_token': torch.zeros(3),
    }
    path = tmp_path / 'vavae.pt'
    torch.save(dict(state_dict=state), path)
    return ldm, path


def make(path, **changes):
    target = MODELS.build(dict(type='VAVAETarget', checkpoint=str(path), **SMALL) | changes)
    target.init_weights()
    return target


def test_latents_equal_latent_diffusion_frame_by_frame(released):
    ldm, path = released
    clip = torch.rand(2, 3, 4, 16, 16) * 2 - 1
    tokens = make(path).encode(clip)
    assert tokens.shape == (2, 2, 16, 8)
    for frame in range(4):
        latent = ldm.encode(clip[:, :, frame]).flatten(2).transpose(1, 2)
        part = tokens[:, frame // 2, :, 4 * (frame % 2) : 4 * (frame % 2) + 4]
        torch.testing.assert_close(part, latent, atol=1e-4, rtol=1e-4)


def test_decoding_equals_latent_diffusion(released):
    ldm, path = released
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    target = make(path)
    frames = target.decode(target.encode(clip), TokenGrid(2, 4, 4))
    for frame in range(4):
        expected = ldm.decode(ldm.encode(clip[:, :, frame]))
        torch.testing.assert_close(frames[:, :, frame], expected, atol=1e-4, rtol=1e-4)


def test_statistics_are_per_latent_channel(released):
    _, path = released
    plain = make(path)
    scaled = make(path, mean=[1.0, 2.0, 3.0, 4.0], std=[2.0, 2.0, 2.0, 4.0])
    clip = torch.rand(1, 3, 6, 16, 16)
    expected = (plain(clip).unflatten(-1, (2, 4)) - torch.tensor([1.0, 2, 3, 4])) / torch.tensor(
        [2.0, 2, 2, 4]
    )
    clean = scaled(clip)
    torch.testing.assert_close(clean.unflatten(-1, (2, 4)), expected)
    torch.testing.assert_close(scaled.denormalize(clean), plain(clip), atol=1e-5, rtol=1e-5)


def test_it_is_frozen(released):
    target = make(released[1]).train()
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda s: s.pop('quant_conv.bias'), r"missing \['quant_conv.bias'\] \(1 in all\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"unexpected \['extra'\] \(1 in all\)"),
        (
            lambda s: s.update({'encoder.conv_in.weight': torch.zeros(8, 3, 3, 3)}),
            r'encoder.conv_in.weight has shape \(8, 3, 3, 3\), expected \(32, 3, 3, 3\)',
        ),
    ],
)
def test_a_file_that_does_not_fit_exactly_is_refused(released, spoil, message):
    ldm, path = released
    state = ldm.state_dict()
    spoil(state)
    torch.save(state, path)
    with pytest.raises(ValueError, match=message):
        make(path)


def test_a_missing_file_names_the_key():
    with pytest.raises(
        FileNotFoundError, match=r'model.target_generator.checkpoint=.*docs/data.md'
    ):
        make('absent.pt')


def test_a_stride_that_is_not_the_patch_is_refused(released):
    with pytest.raises(ValueError, match='has stride 4, which is not patch_size=16'):
        make(released[1], patch_size=16)
