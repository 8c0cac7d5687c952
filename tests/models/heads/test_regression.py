import pytest
import torch
from tiny import wake

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.heads import (
    AlignHead,
    FlowMatchingHead,
    LinearRegressionHead,
    RegressionHead,
)

DECODER = dict(target_channels=6, condition_channels=8, embed_dims=12, depth=2, num_heads=2)
GRID = TokenGrid(4, 2, 2)


def batch():
    return torch.randn(2, 3, 4, 8, requires_grad=True), torch.randn(2, 3, 4, 6)


def test_the_network_is_that_of_flow_matching():
    shapes = [
        {name: p.shape for name, p in head(DECODER).named_parameters()}
        for head in (FlowMatchingHead, RegressionHead)
    ]
    assert shapes[0] == shapes[1]


def test_the_loss_is_the_weighted_error_of_the_prediction():
    head, (z, target) = wake(RegressionHead(DECODER, loss_weight=0.5)), batch()
    loss = head.loss(z, target, GRID, seeds=[1, 2])['loss_regression']
    torch.testing.assert_close(loss, 0.5 * (head.predict(z, GRID) - target).square().mean())
    loss.backward()
    assert z.grad.abs().max() > 0
    torch.testing.assert_close(
        head.sample(z, torch.randn_like(target), GRID), head.predict(z, GRID)
    )


def test_frames_stay_apart():
    head, (z, _) = wake(RegressionHead(DECODER)), batch()
    other = z.detach().clone()
    other[:, 1] += 1
    moved = (head.predict(z, GRID) - head.predict(other, GRID)).abs().amax((0, 2, 3))
    assert (moved > 0).tolist() == [False, True, False]


@pytest.mark.parametrize('criterion', ['mse', 'l1'])
def test_one_layer_with_either_criterion(criterion):
    head, (z, target) = LinearRegressionHead(8, 6, criterion), batch()
    head.init_weights()
    error = head.proj(z) - target
    expected = error.abs() if criterion == 'l1' else error.square()
    torch.testing.assert_close(head.loss(z, target, GRID)['loss_regression'], expected.mean())


def test_an_unknown_criterion_is_refused():
    with pytest.raises(ValueError, match="criterion='l3' .* not one of mse, l1"):
        LinearRegressionHead(8, 6, 'l3')


def test_the_alignment_loss_is_the_weighted_mean_square_and_stops_at_the_reference():
    head = AlignHead(6, 4, loss_weight=0.3)
    z, reference = torch.randn(2, 3, 5, 6, requires_grad=True), torch.randn(2, 3, 5, 4)
    reference.requires_grad_()
    loss = head.loss(z, reference, GRID)['loss_align']
    torch.testing.assert_close(loss, 0.3 * (head.proj(z) - reference).square().mean())
    loss.backward()
    assert z.grad is not None
    assert reference.grad is None


@pytest.mark.parametrize(('kind', 'over'), [('token', 3), ('clip', (1, 2))])
def test_normalised_targets_have_mean_0_and_variance_1(kind, over):
    head = AlignHead(6, 4, normalize_target=kind)
    z, reference = torch.randn(2, 3, 5, 6), 5 * torch.randn(2, 3, 5, 4) + 2
    std, mean = torch.std_mean(reference, dim=over, correction=0, keepdim=True)
    expected = (head.proj(z) - (reference - mean) / std).square().mean()
    torch.testing.assert_close(head.loss(z, reference, GRID)['loss_align'], expected)


def test_features_that_have_shrunk_are_as_hard_to_match():
    head = AlignHead(6, 4, normalize_target='clip')
    z, reference = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 4)
    large, small = (head.loss(z, r, GRID)['loss_align'] for r in (reference, 3 + reference / 500))
    torch.testing.assert_close(large, small, rtol=1e-2, atol=0)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match='normalize_target=True .* not one of None, token, clip'):
        AlignHead(6, 4, normalize_target=True)
