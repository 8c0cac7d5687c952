import pytest
import torch

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.heads import Head


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
