import pytest
import torch
from tiny import wake

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.heads import CrossSelfDiT, FrameDiT

GRID = TokenGrid(4, 3, 4)
both = pytest.mark.parametrize('kind', [FrameDiT, CrossSelfDiT])


def make(kind=FrameDiT, **changes):
    settings = dict(target_channels=5, condition_channels=7, embed_dims=24, depth=2, num_heads=2)
    model = kind(**settings | changes)
    model.init_weights()
    return model


def inputs():
    positions = torch.tensor([[0, 3, 7], [1, 2, 11]])
    return torch.randn(2, 4, 3, 3, 5), torch.rand(2, 4, 3), torch.randn(2, 4, 3, 7), positions


def decode(model, h, tau, z, positions):
    return model(h, tau, z, model.spatial_rope(GRID, positions, copies=12))


@both
def test_nothing_crosses_frames_or_tau_samples(kind):
    model = wake(make(kind))
    h, tau, z, positions = inputs()
    other = h.clone()
    other[0, 1, 2] = torch.randn(3, 5)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, other, tau, z, positions)
    rows = (moved.abs().amax(dim=(3, 4)) > 0).nonzero().tolist()
    assert rows == [[0, 1, 2]]


@both
def test_a_condition_reaches_its_own_frame_only_and_all_its_tau_samples(kind):
    model = wake(make(kind))
    h, tau, z, positions = inputs()
    other = z.clone()
    other[1, 2] = torch.randn(3, 7)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, h, tau, other, positions)
    rows = (moved.abs().amax(dim=(3, 4)) > 0).nonzero().tolist()
    assert rows == [[1, 2, 0], [1, 2, 1], [1, 2, 2]]


def test_two_projections_are_one_of_the_concatenation():
    model = wake(make())
    h, _, z, _ = inputs()
    joined = torch.cat([h, z[:, :, None].expand(-1, -1, 3, -1, -1)], dim=-1)
    weight = torch.cat([model.target_proj.weight, model.condition_proj.weight], dim=1)
    expected = torch.nn.functional.linear(joined, weight, model.condition_proj.bias)
    torch.testing.assert_close(model.target_proj(h) + model.condition_proj(z)[:, :, None], expected)


@both
def test_it_starts_by_saying_zero(kind):
    assert torch.count_nonzero(decode(make(kind), *inputs())) == 0


def test_published_size():
    with torch.device('meta'):
        model = FrameDiT(target_channels=64, condition_channels=384)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(33, abs=0.6)


def test_cross_attention_lets_a_target_read_every_condition_token_of_its_frame():
    model = wake(make(CrossSelfDiT, depth=1))
    with torch.no_grad():
        model.blocks[0].attn.proj.weight.zero_()  # targets no longer pass on what they read
    h, tau, z, positions = inputs()
    other = z.clone()
    other[0, 1, 2] = torch.randn(7)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, h, tau, other, positions)
    assert (moved[0, 1].abs().amax((0, 2)) > 0).all()


def test_gradients_are_the_same_with_checkpointing():
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = wake(make(CrossSelfDiT, with_cp=with_cp))
        decode(model, *inputs()).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*grads)
