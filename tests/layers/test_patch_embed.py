import pytest
import torch
from torch.nn.functional import conv3d

from nextvid_mm.layers import TokenGrid, TubeletEmbed, patchify, unpatchify


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
