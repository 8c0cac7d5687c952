"""The flow loss against its definition, one row at a time; the decoder's frames stay apart."""

import pytest
import torch
from tiny import wake

from nextvid_mm.flow import draw_flow
from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.heads import CrossSelfDiT, FlowMatchingHead, FrameDiT

GRID = TokenGrid(4, 3, 4)
DECODER = dict(target_channels=5, condition_channels=7, embed_dims=24, depth=1, num_heads=2)
POSITIONS = torch.tensor([[0, 3, 7], [1, 2, 11]])


def make(**changes):
    head = FlowMatchingHead(**dict(decoder=DECODER, tau_samples=3) | changes)
    head.init_weights()
    return wake(head)


def by_definition(head, z, target, seeds):
    """Mean over clips, frames and times of ``|g((1-tau) h0 + tau h1, z, tau) - (h1 - h0)|^2``."""
    B, T, M, C = target.shape
    k, total = head.tau_samples, 0.0
    draw = draw_flow(seeds, (T, k), (T, k, M, C), like=target)
    for b in range(B):
        for t in range(T):
            for s in range(k):
                tau, h0, h1 = draw.tau[b, t, s], draw.noise[b, t, s], target[b, t]
                h = (1 - tau) * h0 + tau * h1
                rope = head.decoder.spatial_rope(GRID, POSITIONS[b : b + 1], copies=1)
                args = (h[None, None, None], tau.view(1, 1, 1), z[b : b + 1, t : t + 1], rope)
                total = total + (head.velocity(*args)[0, 0, 0] - (h1 - h0)).square().mean()
    return head.loss_weight * total / (B * T * k)


@pytest.mark.parametrize('prediction', ['velocity', 'clean'])
def test_the_loss_is_its_definition_in_value_and_gradient(prediction):
    head = make(prediction=prediction)
    target = torch.randn(2, 3, 3, 5)
    results = []
    for loss in (
        lambda z: head.loss(z, target, GRID, POSITIONS, [1, 2])['loss_flow'],
        lambda z: by_definition(head, z, target, [1, 2]),
    ):
        torch.manual_seed(1)
        z = torch.randn(2, 3, 3, 7, requires_grad=True)
        value = loss(z)
        results.append((value, torch.autograd.grad(value, z)[0]))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-4)
    assert results[0][1].abs().max() > 0, 'the loss must flow back through the condition'


def test_a_clip_has_the_same_loss_in_any_batch():
    head = make()
    z, target = torch.randn(2, 3, 3, 7), torch.randn(2, 3, 3, 5)
    both = head.loss(z, target, GRID, POSITIONS, [1, 2])['loss_flow']
    alone = [
        head.loss(z[i : i + 1], target[i : i + 1], GRID, POSITIONS[i : i + 1], [i + 1])['loss_flow']
        for i in range(2)
    ]
    torch.testing.assert_close(both, sum(alone) / 2)


def test_knowing_the_data_means_no_loss():
    head = make(prediction='clean', clean_floor=1e-6)
    target = torch.randn(2, 3, 3, 5)
    head.decoder.forward = lambda h, tau, z, rope: target[:, :, None].expand_as(h)
    loss = head.loss(torch.randn(2, 3, 3, 7), target, GRID, POSITIONS, [1, 2])['loss_flow']
    assert loss.item() < 1e-4


def test_sampling_has_the_shape_of_the_noise_and_follows_the_seed():
    head = make()
    z, noise = torch.randn(2, 3, 3, 7), torch.randn(2, 3, 3, 5)
    a = head.sample(z, noise, GRID, POSITIONS, num_steps=3)
    assert a.shape == noise.shape
    assert torch.equal(a, head.sample(z, noise, GRID, POSITIONS, num_steps=3))
    assert not torch.equal(a, head.sample(z, noise + 1, GRID, POSITIONS, num_steps=3))


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction='noise'.*velocity, clean"):
        make(prediction='noise')


both = pytest.mark.parametrize('kind', [FrameDiT, CrossSelfDiT])


def make_dit(kind=FrameDiT, **changes):
    settings = dict(target_channels=5, condition_channels=7, embed_dims=24, depth=2, num_heads=2)
    model = kind(**settings | changes)
    model.init_weights()
    return model


def dit_inputs():
    positions = torch.tensor([[0, 3, 7], [1, 2, 11]])
    return torch.randn(2, 4, 3, 3, 5), torch.rand(2, 4, 3), torch.randn(2, 4, 3, 7), positions


def decode(model, h, tau, z, positions):
    return model(h, tau, z, model.spatial_rope(GRID, positions, copies=12))


@both
def test_nothing_crosses_frames_or_tau_samples(kind):
    model = wake(make_dit(kind))
    h, tau, z, positions = dit_inputs()
    other = h.clone()
    other[0, 1, 2] = torch.randn(3, 5)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, other, tau, z, positions)
    rows = (moved.abs().amax(dim=(3, 4)) > 0).nonzero().tolist()
    assert rows == [[0, 1, 2]]


@both
def test_a_condition_reaches_its_own_frame_only_and_all_its_tau_samples(kind):
    model = wake(make_dit(kind))
    h, tau, z, positions = dit_inputs()
    other = z.clone()
    other[1, 2] = torch.randn(3, 7)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, h, tau, other, positions)
    rows = (moved.abs().amax(dim=(3, 4)) > 0).nonzero().tolist()
    assert rows == [[1, 2, 0], [1, 2, 1], [1, 2, 2]]


def test_two_projections_are_one_of_the_concatenation():
    model = wake(make_dit())
    h, _, z, _ = dit_inputs()
    joined = torch.cat([h, z[:, :, None].expand(-1, -1, 3, -1, -1)], dim=-1)
    weight = torch.cat([model.target_proj.weight, model.condition_proj.weight], dim=1)
    expected = torch.nn.functional.linear(joined, weight, model.condition_proj.bias)
    torch.testing.assert_close(model.target_proj(h) + model.condition_proj(z)[:, :, None], expected)


@both
def test_it_starts_by_saying_zero(kind):
    assert torch.count_nonzero(decode(make_dit(kind), *dit_inputs())) == 0


def test_published_size():
    with torch.device('meta'):
        model = FrameDiT(target_channels=64, condition_channels=384)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(33, abs=0.6)


def test_cross_attention_lets_a_target_read_every_condition_token_of_its_frame():
    model = wake(make_dit(CrossSelfDiT, depth=1))
    with torch.no_grad():
        model.blocks[0].attn.proj.weight.zero_()  # targets no longer pass on what they read
    h, tau, z, positions = dit_inputs()
    other = z.clone()
    other[0, 1, 2] = torch.randn(7)
    with torch.no_grad():
        moved = decode(model, h, tau, z, positions) - decode(model, h, tau, other, positions)
    assert (moved[0, 1].abs().amax((0, 2)) > 0).all()


def test_gradients_are_the_same_with_checkpointing():
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = wake(make_dit(CrossSelfDiT, with_cp=with_cp))
        decode(model, *dit_inputs()).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*grads)
