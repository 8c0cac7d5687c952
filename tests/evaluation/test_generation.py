"""Figures of generated frames against values worked out by hand."""

import math

import pytest
import torch
from tiny import build, clips, wake

from nextvid_mm.evaluation.generation import (
    copy_last_frame,
    generation_metrics,
    moving_region,
)
from nextvid_mm.layers import BatchMask


def make(**changes):
    return wake(build(**changes)).eval()


def moving_clips(batch=3):
    """Noise in one quarter of the frame, grey that stands still elsewhere."""
    clip = torch.zeros(batch, 3, 8, 16, 16)
    clip[..., :8, :8] = clips(batch)[..., :8, :8]
    return clip


class Oracle(torch.nn.Module):
    """Generates the truth plus noise of a known size, one size for each call."""

    def __init__(self, offsets):
        super().__init__()
        parts = make()
        self.backbone, self.head, self.target_generator = (
            parts.backbone,
            parts.head,
            parts.target_generator,
        )
        self.offsets = iter(offsets)

    def generate(self, clip, mask, noise, num_steps, solver):
        return clip[:, :, 2:] + next(self.offsets)


def test_the_last_frame_before_each_tubelet_is_repeated():
    clip = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(1, 3, 6, 2, 2)
    assert copy_last_frame(clip, 2)[0, 0, :, 0, 0].tolist() == [1, 1, 3, 3]


def test_a_pixel_moves_if_any_colour_leaves_the_last_frame():
    clip = torch.zeros(1, 3, 4, 2, 2)
    clip[0, 1, 2, 0, 1] = 0.2  # one colour, first frame of the second tubelet
    clip[0, 2, 3, 1, 1] = 0.05  # below the threshold
    assert moving_region(clip, 2, 0.1).nonzero().tolist() == [[0, 0, 0, 0, 1]]


def test_figures_are_those_of_known_errors_on_the_moving_region_only():
    clip = moving_clips()
    result = generation_metrics(Oracle([0.2, -0.2]), clip, num_samples=2)
    where = moving_region(clip, 2, 0.1).expand(-1, 3, -1, -1, -1)
    assert 0 < result.moving_share < 0.25
    assert result.moving_share == pytest.approx(float(where.float().mean()))
    assert result.psnr_generated == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-3)
    assert result.psnr_mean_of_samples > 100, 'the errors of the two samples cancel'
    assert result.diversity == pytest.approx(0.2, abs=1e-5)
    errors = [(clip[i, :, 2:] - copy_last_frame(clip, 2)[i])[where[i]] for i in range(3)]
    by_hand = sum(10 * math.log10(4 / float(e.square().mean())) for e in errors) / 3
    assert result.psnr_copy == pytest.approx(by_hand, abs=1e-4)
    assert result.gain == pytest.approx(20 - by_hand, abs=1e-3)


def test_labels_split_the_figures_and_still_clips_do_not_count():
    clip = moving_clips(4)
    clip[3] = 0
    result = generation_metrics(make(), clip, labels=[7, 5, 7, 5], num_samples=2, num_steps=1)
    assert result.clips == 3
    assert {label: part.clips for label, part in result.by_label.items()} == {5: 1, 7: 2}
    weighted = (result.by_label[5].psnr_copy + 2 * result.by_label[7].psnr_copy) / 3
    assert result.psnr_copy == pytest.approx(weighted)


def test_seeds_are_reproducible_and_samples_differ():
    model, clip = make(), moving_clips(2)
    first, again, other = (
        generation_metrics(model, clip, num_samples=2, num_steps=2, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.psnr_generated != other.psnr_generated
    assert first.diversity > 0
    assert generation_metrics(model, clip, num_samples=1, num_steps=2).diversity == 0


def test_a_mask_limits_generation_and_comparison_to_hidden_patches():
    hidden = torch.tensor([[0, 1], [4, 5]])  # two patches of 4 px in the upper left quarter
    visible = torch.stack([torch.tensor(sorted(set(range(16)) - set(h.tolist()))) for h in hidden])
    clip = moving_clips(2)
    whole = generation_metrics(make(), clip, num_samples=1, num_steps=1)
    masked = generation_metrics(
        make(), clip, mask=BatchMask(visible, hidden), num_samples=1, num_steps=1, batch_size=1
    )
    assert masked.moving_share == pytest.approx(whole.moving_share / 2, rel=0.1)


def test_the_ceiling_is_what_targets_can_show():
    pooled = dict(type='PixelTarget', patch_size=4, pool=2)
    head = dict(
        type='FlowMatchingHead',
        decoder=dict(
            target_channels=24, condition_channels=12, embed_dims=24, depth=1, num_heads=2
        ),
    )
    exact = generation_metrics(make(), moving_clips(), num_samples=1, num_steps=1)
    coarse = generation_metrics(
        make(target_generator=pooled, head=head), moving_clips(), num_samples=1, num_steps=1
    )
    assert exact.psnr_target > 100 > coarse.psnr_target


@pytest.mark.parametrize(
    ('model', 'clip', 'options', 'message'),
    [
        (dict(), torch.zeros(2, 3, 8, 16, 16), {}, 'nothing moves by more than threshold=0.1'),
        (dict(), moving_clips(2), dict(labels=[1]), '1 labels for 2 clips'),
        (
            dict(head=None, target_generator=None),
            moving_clips(2),
            {},
            'head=NoneType and target_generator=NoneType cannot generate pictures',
        ),
    ],
)
def test_bad_input_is_refused(model, clip, options, message):
    with pytest.raises(ValueError, match=message):
        generation_metrics(make(**model), clip, num_samples=1, num_steps=1, **options)
