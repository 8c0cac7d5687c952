"""Targets of causal video autoencoders, through folders as diffusers publishes them."""

import pytest
import torch
from diffusers import AutoencoderKLCosmos, AutoencoderKLWan

from nextvid_mm.layers import ClipBatch, TokenGrid
from nextvid_mm.models.target_generators.video_vae import _own_statistics
from nextvid_mm.registry import MODELS

COSMOS = dict(
    latent_channels=4,
    num_layers=1,
    attention_resolutions=(),
    patch_size=2,
    spatial_compression_ratio=4,
    temporal_compression_ratio=4,
    encoder_block_out_channels=(16, 16, 16, 16),
    decode_block_out_channels=(16, 16, 16, 16),
    latents_mean=None,
    latents_std=None,
)
WAN = dict(
    base_dim=8, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[True, True],
    latents_mean=[0.5] * 4, latents_std=[2.0] * 4,
)  # fmt: skip


@pytest.fixture
def cosmos(tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKLCosmos(**COSMOS).eval()
    vae.save_pretrained(tmp_path / 'cosmos')
    return vae, tmp_path / 'cosmos'


def make(folder, **changes):
    settings = dict(
        type='CosmosVAETarget', checkpoint=str(folder), patch_size=4, repeat_frames=2, dtype=None
    )
    target = MODELS.build(settings | changes)
    target.init_weights()
    return target


@torch.no_grad()
def latents(vae, video):
    return vae.encode(video).latent_dist.mode()


def test_latents_begin_with_the_last_frame_of_the_first_tubelet(cosmos):
    vae, folder = cosmos
    clip = torch.rand(1, 3, 8, 16, 16) * 2 - 1
    tokens = make(folder)(clip)
    assert tokens.shape == (1, 3, 16, 4)
    order = [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    expected = latents(vae, clip[:, :, order])[:, :, 1:]
    torch.testing.assert_close(tokens, expected.flatten(3).permute(0, 2, 3, 1))


def test_no_target_hears_of_later_frames(cosmos):
    target, clip = make(cosmos[1]), torch.rand(1, 3, 8, 16, 16)
    other = clip.clone()
    other[:, :, 4:6] = 0  # tubelet 2 of 0..3
    other[:, :, 0] = 0  # never seen
    moved = (target(clip) - target(other)).abs().amax((0, 2, 3))
    assert moved[0] == 0, 'tubelet 1'
    assert moved[1] > 1e-4, 'tubelet 2'


def test_tubelets_as_long_as_a_latent_frame_need_no_repetition(cosmos):
    vae, folder = cosmos
    clip = torch.rand(1, 3, 12, 16, 16) * 2 - 1
    tokens = make(folder, repeat_frames=1, tubelet_size=4)(clip)
    expected = latents(vae, clip[:, :, 3:])[:, :, 1:]
    torch.testing.assert_close(tokens, expected.flatten(3).permute(0, 2, 3, 1))


def test_several_latent_frames_and_squares_are_stacked_on_channels(cosmos):
    vae, folder = cosmos
    clip = torch.rand(1, 3, 16, 16, 16) * 2 - 1
    target = make(folder, repeat_frames=1, tubelet_size=8, patch_size=8)
    tokens = target(clip)
    assert target.channels == 2 * 4 * 4 == tokens.shape[-1]
    latent = latents(vae, clip[:, :, 7:])[0, :, 1:]
    part = tokens[0, 0, 1].reshape(2, 2, 2, 4)[1, 0, 1]  # patch (0, 1); latent frame, row, column
    torch.testing.assert_close(part, latent[:, 1, 0, 3])


def still_clips(*flags):
    return ClipBatch.of([dict(static=flag) for flag in flags])


def test_static_clips_are_encoded_from_one_tubelet(cosmos):
    clip = torch.rand(2, 3, 8, 16, 16)
    clip[1] = clip[1, :, :1]
    target = make(cosmos[1])
    torch.testing.assert_close(
        target(clip, still_clips(False, True)), target(clip), atol=1e-5, rtol=1e-5
    )


def test_decoding_gives_the_frames_after_the_first_tubelet(cosmos):
    vae, folder = cosmos
    target, clip = make(folder), torch.rand(2, 3, 8, 16, 24) * 2 - 1
    pixels = target.to_pixels(target(clip), TokenGrid(3, 4, 6))
    assert pixels.shape == (2, 3, 6, 16, 24)
    latent = target(clip).permute(0, 3, 1, 2).unflatten(-1, (4, 6))
    with torch.no_grad():
        video = vae.decode(torch.cat([latent[:, :, :1], latent], dim=2)).sample[:, :, 1:]
    expected = (video[:, :, ::2] + video[:, :, 1::2]) / 2
    torch.testing.assert_close(pixels, expected.clamp(-1, 1), atol=1e-5, rtol=1e-5)


def test_wan_has_the_same_layout_but_no_short_cut(tmp_path):
    AutoencoderKLWan(**WAN).save_pretrained(tmp_path / 'wan')
    vae = AutoencoderKLWan.from_pretrained(tmp_path / 'wan').eval()
    target, clip = make(tmp_path / 'wan'), torch.rand(1, 3, 6, 16, 16) * 2 - 1
    expected = (latents(vae, clip[:, :, [1, 2, 2, 3, 3, 4, 4, 5, 5]])[:, :, 1:] - 0.5) / 2
    torch.testing.assert_close(target(clip), expected.flatten(3).permute(0, 2, 3, 1))
    still = clip[:, :, :1].expand(-1, -1, 6, -1, -1)
    assert torch.equal(target(still, still_clips(True)), target(still))


def test_statistics_per_latent_frame_are_pooled_without_the_first():
    config = dict(latents_mean=[9.0, 1.0, 3.0, 9.0, 0.0, 0.0], latents_std=[9.0, 1, 1, 9, 2, 2])
    mean, std = _own_statistics(config, channels=2)
    assert mean == [2.0, 0.0]
    assert std == pytest.approx([2**0.5, 2.0])


def test_normalising_is_undone_and_nothing_trains(cosmos):
    target = make(cosmos[1], mean=[1.0, 2, 3, 4], std=[1.0, 2, 3, 4]).train()
    raw = torch.randn(1, 2, 16, 4)
    torch.testing.assert_close(target.denormalize(target.normalize(raw)), raw)
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(repeat_frames=1),
            'covers 4 video frames, which do not fit tubelet_size=2 with repeat_frames=1: set '
            'model.target_generator.repeat_frames=2, or tubelet_size=4',
        ),
        (dict(patch_size=6), 'AutoencoderKLCosmos has stride 4, .* patch_size=6'),
        (dict(architecture=dict(_class_name='AutoencoderKL')), 'is a AutoencoderKL; VideoVAETarg'),
        (
            dict(architecture=COSMOS | dict(latent_channels=8)),
            r'other shape .*: encoder.conv_out.*: \(4, .* in the file, \(8, .* expected',
        ),
    ],
)
def test_what_does_not_fit_is_refused(cosmos, changes, message):
    with pytest.raises(ValueError, match=message):
        make(cosmos[1], **changes)
