import pytest
import torch

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.predictors import Predictor


class Last(Predictor):
    """The least predictor: the frame before."""

    def forward(self, context, grid, visible, queried):
        return context[:, : grid.tubelets - self.ahead]


def test_defaults_are_those_of_next_frame_prediction():
    assert (Last.ahead, Last.rolls_out) == (1, False)
    assert Last()(torch.rand(1, 4, 2, 3), TokenGrid(4, 1, 2), None, None).shape == (1, 3, 2, 3)


def test_what_it_cannot_do_is_said():
    with pytest.raises(NotImplementedError, match='Last has no predict_next'):
        Last().predict_next(None, None, None)
    with pytest.raises(NotImplementedError, match='Last has no make_cache'):
        Last().make_cache(2)
