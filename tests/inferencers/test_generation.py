"""From a checkpoint and a seed to pictures and films."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import save_pretrained
from clips import pictures_of
from PIL import Image

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.inferencers.clip_files import read_seed
from nextvid_mm.inferencers.generation import (
    Sampling,
    continue_clip,
    generate_files,
    generate_masked,
    normalised,
    write_rollout,
)
from nextvid_mm.models.checkpoints import load_generator

QUICK = Sampling(samples=2, num_steps=2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny checkpoint, a video of 16 frames and an image of another size."""
    folder = tmp_path_factory.mktemp('seeds')
    torch.manual_seed(0)
    save_pretrained(folder / 'model.pth')
    frames = np.random.default_rng(0).integers(0, 255, (16, 16, 16, 3), np.uint8)
    encode_video(folder / 'clip.mp4', frames, 8)
    Image.fromarray(frames[0].repeat(2, 0)).save(folder / 'picture.png')
    return folder


@pytest.fixture(scope='module')
def generator(folder):
    return load_generator(folder / 'model.pth')


@pytest.fixture
def seed(folder):
    return read_seed(folder / 'clip.mp4', 8, 16, 8)


def test_clips_are_normalised_as_in_training(generator, seed):
    clip = normalised(generator, replace(seed, frames=seed.frames[:, :7]))
    assert clip.shape == (1, 3, 6, 16, 16), 'whole tubelets only'
    torch.testing.assert_close(clip[0], seed.frames[:, :6].float() / 127.5 - 1)


def test_masked_generation_keeps_what_is_visible_and_fills_what_is_hidden(generator, seed):
    result = generate_masked(generator, seed, QUICK)
    assert result.generated.shape == (2, 3, 8, 16, 16)
    shown = (result.masked != 0).any(0, keepdim=True).expand_as(result.original)
    assert 0 < float(shown.float().mean()) < 1
    for sample in result.generated:
        assert torch.equal(sample[:, :2], result.original[:, :2])
        torch.testing.assert_close(sample[shown], result.original[shown])
    hidden = ~shown[:, 2:]
    first, second = result.generated[:, :, 2:]
    assert not torch.equal(first[hidden], second[hidden])
    assert not torch.equal(first[hidden], result.original[:, 2:][hidden])


def test_without_masks_everything_is_visible_and_generated(generator, seed):
    whole = replace(generator, masking=dict(generator.masking, strategies='none'))
    result = generate_masked(whole, seed, QUICK)
    assert torch.equal(result.masked, result.original)
    assert (result.generated[:, :, 2:] != result.original[:, 2:]).all(0).float().mean() > 0.9


def test_seeds_decide(generator, seed):
    first, again = (continue_clip(generator, seed, 2, QUICK, progress=False) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    other = continue_clip(generator, seed, 2, replace(QUICK, seed=1), progress=False)
    assert all(not torch.equal(a, b) for a in first for b in other)
    alone = continue_clip(generator, seed, 2, replace(QUICK, samples=1), progress=False)
    torch.testing.assert_close(alone[0], first[0], atol=1e-4, rtol=0)


def test_masked_files(generator, folder, tmp_path, capsys):
    paths = generate_files(generator, folder / 'clip.mp4', tmp_path / 'out', QUICK)
    assert [p.name for p in paths] == [f'clip_masked.{e}' for e in ('png', 'gif', 'mp4')]
    assert capsys.readouterr().out == ''
    with Image.open(paths[0]) as sheet:
        # 5 generated tubelets of the longest training clips (12 frames); 4 rows.
        assert sheet.size == (5 * 16 * 2, 4 * (14 + 32))
    assert len(pictures_of(paths[2])) == 12


def test_rollout_files_of_a_clip_show_the_truth_beside(generator, folder, tmp_path):
    paths = generate_files(generator, folder / 'clip.mp4', tmp_path, QUICK, rollout=5, num_frames=8)
    with Image.open(paths[0]) as sheet:
        # 4 seed tubelets, a gap, 3 generated tubelets (5 frames are 2.5); truth and 2 samples.
        assert sheet.size == (8 * 32, 3 * (14 + 32))
    assert len(pictures_of(paths[2])) == 8 + 6


def test_rollout_of_an_image_starts_with_one_tubelet_and_says_it_was_resized(
    generator, folder, tmp_path, capsys
):
    paths = generate_files(generator, folder / 'picture.png', tmp_path, QUICK, rollout=4)
    assert 'picture.png: 16x32 px resized to 16x16 px' in capsys.readouterr().out
    with Image.open(paths[0]) as sheet:
        assert sheet.size == ((1 + 1 + 2) * 32, 2 * (14 + 32)), 'there is no true continuation'


def test_the_cache_is_timed_side_by_side(generator, folder, tmp_path, capsys):
    generate_files(
        generator, folder / 'clip.mp4', tmp_path, QUICK, rollout=2, num_frames=8, compare=True
    )
    told = capsys.readouterr().out
    assert 'Rolling out 1 tubelets from 4' in told
    assert 'Largest difference of a pixel: ' in told


def test_a_truth_that_ends_early_is_padded(tmp_path):
    clip = torch.zeros(3, 4, 8, 8)
    paths = write_rollout(clip, clip[None], clip[:, :2], tmp_path / 'x', 2, 4.0)
    with Image.open(paths[0]) as sheet:
        assert sheet.size == (5 * 16, 2 * (14 + 16))


def test_a_window_defaults_to_the_training_clips(generator, folder, tmp_path, monkeypatch):
    seen = []

    def spy(generator, seed, tubelets, sampling):
        seen.append(sampling.window)
        return continue_clip(generator, seed, tubelets, sampling, progress=False)

    monkeypatch.setattr('nextvid_mm.inferencers.generation.continue_clip', spy)
    for window in (None, 2):
        sampling = replace(QUICK, window=window)
        generate_files(generator, folder / 'clip.mp4', tmp_path, sampling, rollout=2)
    assert seen == [6, 2]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rollout=0), 'rollout=0 must be larger than 0'),
        (dict(fps=-1.0), 'fps=-1.0 must be larger than 0'),
        (dict(start=-1.0), 'start=-1.0 must not be below 0'),
        (dict(compare=True), r'--compare-cache\) is of a rollout'),
        (dict(num_frames=3), 'at least 2 tubelets of 2 video frames, the seed has 2 frames'),
        (dict(num_frames=1, rollout=2), 'the seed has 1 video frames, which is less than a tube'),
    ],
)
def test_bad_requests_are_refused(generator, folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate_files(generator, folder / 'clip.mp4', tmp_path, QUICK, **options)
    with pytest.raises(ValueError, match='samples=0 must be larger than 0'):
        generate_files(generator, folder / 'clip.mp4', tmp_path, Sampling(samples=0))
    with pytest.raises(ValueError, match=r'window \(--window\) is of a rollout'):
        generate_files(generator, folder / 'clip.mp4', tmp_path, replace(QUICK, window=3))
    with pytest.raises(ValueError, match='window=0 must be larger than 0'):
        generate_files(generator, folder / 'clip.mp4', tmp_path, Sampling(window=0), rollout=2)
    with pytest.raises(ValueError, match='seed=-1 must not be below 0'):
        generate_files(generator, folder / 'clip.mp4', tmp_path, Sampling(seed=-1))
