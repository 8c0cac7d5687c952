import pytest
import torch

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.heads import AlignHead, FlowMatchingHead, Head
from nextvid_mm.models.heads.base import squared_error

DECODER = dict(target_channels=5, condition_channels=7, embed_dims=24, depth=1, num_heads=2)


class Square(Head):
    """The least head."""

    def loss(self, z, target, grid, positions=None, seeds=None):
        return dict(loss_square=self.loss_weight * (z - target).square().mean())


def test_a_head_is_called_for_its_losses():
    head, z = Square(4, loss_weight=0.5), torch.randn(2, 3, 5, 4)
    losses = head(z, torch.zeros_like(z), TokenGrid(4, 1, 5))
    torch.testing.assert_close(losses['loss_square'], 0.5 * z.square().mean())
    assert (head.target_channels, head.tau_samples, head.generates) == (4, 1, False)


def test_a_head_without_sample_says_so():
    with pytest.raises(NotImplementedError, match='Square has no sample: it generates nothing'):
        Square(4).sample(torch.zeros(1), torch.zeros(1), TokenGrid(1, 1, 1))


def test_a_share_of_the_error_goes_where_targets_change():
    predicted, target = torch.randn(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    target[0, 1:, 2] = 1  # one patch of one clip changes, from the first tubelet to the second
    error = (predicted - target).square().mean(-1)
    for motion in (0.0, 0.25, 1.0):
        found = squared_error(predicted, target, target, motion)
        # The first tubelet's change is taken to be the second's: weights 6, twice in 12 tokens.
        moved = (1 - motion) * error[0].mean() + motion * 6 * error[0, :2, 2].sum() / 12
        torch.testing.assert_close(found, (moved + error[1].mean()) / 2)


def test_flow_times_share_the_weights_of_their_token():
    target, predicted = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 1, 4, 5)
    once = squared_error(predicted[:, :, 0], target, target, 0.7)
    twice = predicted.expand(-1, -1, 2, -1, -1)
    wanted = target[:, :, None].expand_as(twice)
    torch.testing.assert_close(squared_error(twice, wanted, target, 0.7), once)


@pytest.mark.parametrize('head', [FlowMatchingHead, AlignHead])
def test_a_share_outside_is_refused(head):
    settings = (
        dict(decoder=DECODER) if head is FlowMatchingHead else dict(in_channels=4, out_channels=4)
    )
    with pytest.raises(ValueError, match=f'motion=1.5 of {head.__name__} is a share'):
        head(**settings, motion=1.5)
