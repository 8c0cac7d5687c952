import pickle

import numpy as np
import pytest
import torch
from torch.nn.functional import conv3d

from nextvid_mm.layers import (
    BatchMask,
    ClipBatch,
    TokenGrid,
    TubeletEmbed,
    gather_patches,
    patchify,
    unpatchify,
)


def test_a_clip_divides_into_tubelets_and_patches():
    grid = TokenGrid.of_clip(torch.Size([2, 3, 16, 64, 96]), patch_size=16, tubelet_size=2)
    assert grid == TokenGrid(8, 4, 6)
    assert grid.patches == 24
    assert grid.with_tubelets(3) == TokenGrid(3, 4, 6)


def test_frames_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='15 video frames does not divide.*tubelet_size=2'):
        TokenGrid.of_clip(torch.Size([15, 64, 64]), patch_size=16, tubelet_size=2)


def test_pixels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='64x60 px does not divide.*patch_size=16'):
        TokenGrid.of_clip(torch.Size([16, 64, 60]), patch_size=16, tubelet_size=2)


def test_gather_keeps_the_same_patches_of_every_frame():
    tokens = torch.arange(2 * 3 * 4).view(2, 3, 4, 1)
    index = torch.tensor([[0, 3], [1, 2]])
    kept = gather_patches(tokens, index)
    assert kept.shape == (2, 3, 2, 1)
    for b in range(2):
        for t in range(3):
            assert torch.equal(kept[b, t], tokens[b, t, index[b]])
    assert gather_patches(tokens, None) is tokens
    assert torch.equal(gather_patches(tokens, index, frames=2), kept[:, :2])
    assert torch.equal(gather_patches(tokens, None, frames=2), tokens[:, :2])
    assert torch.equal(gather_patches(tokens[:, 1:], index), kept[:, 1:])


def test_patchify_and_back():
    clip = torch.randn(2, 3, 4, 8, 12)
    patches = patchify(clip, patch_size=4, tubelet_size=2)
    assert patches.shape == (2, 2, 6, 3 * 2 * 16)
    assert torch.equal(unpatchify(patches, TokenGrid(2, 2, 3), 4, 2), clip)


def test_embedding_equals_a_strided_convolution():
    clip = torch.randn(2, 3, 4, 8, 12, dtype=torch.float64)
    embed = TubeletEmbed(patch_size=4, tubelet_size=2, embed_dims=5).double()
    kernel = embed.weight.view(5, 3, 2, 4, 4)
    features = conv3d(clip, kernel, embed.bias, stride=(2, 4, 4))
    tokens = embed(patchify(clip, 4, 2))
    torch.testing.assert_close(tokens, features.flatten(3).permute(0, 2, 3, 1))


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='patch_size=5'):
        patchify(torch.randn(1, 3, 4, 8, 8), 5, 2)


INFO = [dict(sample_seed=2**63 - 1 - n, static=n == 1, path=f'{n}.mp4') for n in range(3)]
MASK = BatchMask(torch.arange(6).view(3, 2), torch.arange(9).view(3, 3))


def test_seeds_of_strategies_differ_as_ever():
    """Those of the first strategy are the clips' own; no run's noise may change."""
    batch = ClipBatch.of(INFO, [MASK])
    for strategy in range(4):
        expected = [
            (clip['sample_seed'] ^ (0x9E3779B97F4A7C15 * strategy)) % 2**63 for clip in INFO
        ]
        assert batch.seeds_of(strategy).tolist() == expected
    assert ClipBatch.of([dict(path='a.mp4')]).seeds_of(1) is None


def test_some_of_the_clips():
    batch = ClipBatch.of(INFO, [MASK], torch.arange(3).view(3, 1, 1, 1))
    part = batch.take([2, 1])
    assert part.masks[0].visible.tolist() == [[4, 5], [2, 3]]
    assert part.target.flatten().tolist() == [2, 1]
    assert (part.moving.tolist(), part.still.tolist()) == ([0], [1])
    assert [clip['path'] for clip in batch.take(slice(2)).info] == ['0.mp4', '1.mp4']
    assert np.array_equal(batch.take(slice(2)).seeds, batch.seeds[:2])


def test_a_batch_without_masks_shows_everything():
    batch = ClipBatch.of(INFO, [BatchMask(None, None)])
    assert batch.take([0]).masks == (BatchMask(None, None),)


def test_it_crosses_processes():
    batch = pickle.loads(pickle.dumps(ClipBatch.of(INFO, [MASK])))
    assert type(batch) is ClipBatch
    assert type(batch.masks[0]) is BatchMask
