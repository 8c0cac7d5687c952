"""What every encoder has once it encodes patches."""

import pytest
import torch
from torch import nn

from nextvid_mm.layers import gather_patches
from nextvid_mm.models.backbones import VideoEncoder


class Linear(VideoEncoder):
    """The least encoder: one linear layer on each patch."""

    def __init__(self, **sizes):
        super().__init__(embed_dims=6, img_size=16, patch_size=4, **sizes)
        self.embed = nn.Linear(96, 6)

    def encode_patches(self, patches, grid, visible=None, last=1):
        self.check_last(last)
        return [self.embed(gather_patches(patches, visible, grid.tubelets))]


CLIP = torch.rand(2, 3, 8, 16, 12)


def test_tokens_maps_and_layers_follow_from_one_method():
    encoder = Linear()
    tokens = encoder.embed(encoder.patchify(CLIP))
    assert torch.equal(encoder.encode(CLIP), tokens)
    assert torch.equal(encoder.encode_layers(CLIP)[0], tokens)
    features = encoder(CLIP)
    assert features.shape == (2, 6, 4, 4, 3)
    assert torch.equal(features.flatten(3).permute(0, 2, 3, 1), tokens)
    assert isinstance(Linear(output='maps')(CLIP), tuple)
    assert Linear(output='tokens')(CLIP).shape == tokens.shape
    assert encoder(torch.rand(2, 3, 16, 16)).shape == (2, 6, 1, 4, 4)
    with pytest.raises(ValueError, match='last=2 layers asked of an encoder with 1'):
        encoder.encode_layers(CLIP, last=2)


def test_called_with_a_grid_it_encodes_the_patches_it_is_shown():
    encoder, visible = Linear(), torch.tensor([[0, 3], [1, 2]])
    grid = encoder.grid_of(CLIP)
    (tokens,) = encoder(encoder.patchify(CLIP), grid.with_tubelets(3), visible)
    assert torch.equal(tokens, gather_patches(encoder.encode(CLIP), visible, 3))
    assert torch.equal(encoder.encode(CLIP, visible)[:, :3], tokens)


def test_what_it_cannot_do_is_said():
    with pytest.raises(ValueError, match='streams=False of Linear'):
        Linear().make_cache(4)
    with pytest.raises(ValueError, match="output='cls' of Linear is not one of map, maps, tokens"):
        Linear(output='cls')


def test_the_reference_is_built_without_what_only_training_needs():
    assert Linear.still(dict(type='Linear', init_cfg=3)) == dict(type='Linear')
