import pytest
import torch
from tiny import wake

from nextvid_mm.layers import TokenGrid, set_recompute
from nextvid_mm.models.predictors import JointPredictor

GRID = TokenGrid(4, 2, 3)
VISIBLE = torch.tensor([[0, 2, 5], [1, 3, 4]])
HIDDEN = torch.tensor([[1, 3, 4], [0, 2, 5]])


def build(**changes):
    model = JointPredictor(8, embed_dims=12, depth=2, num_heads=2, **changes)
    model.init_weights()
    return wake(model).double()


def moved_by_frame(model, frame):
    """Which predicted frames move with the context of ``frame``."""
    context = torch.randn(2, 4, 3, 8, dtype=torch.float64)
    other = context.clone()
    other[:, frame] += 1
    before, after = (model(x, GRID, VISIBLE, HIDDEN) for x in (context, other))
    return (before - after).abs().amax((0, 2, 3))


def test_predictions_read_strictly_earlier_frames():
    model = build()
    assert model(torch.zeros(2, 4, 3, 8).double(), GRID, VISIBLE, HIDDEN).shape == (2, 3, 3, 12)
    for frame in range(4):
        moved = moved_by_frame(model, frame)
        assert (moved[:frame] == 0).all()
        assert (moved[frame:] > 0).all()


def test_ahead_0_reads_the_own_frame_too_and_without_causality_all():
    assert (moved_by_frame(build(ahead=0), 2) > 0).tolist() == [False, False, True, True]
    assert (moved_by_frame(build(ahead=0, causal=False), 3) > 0).all()


def test_queries_hear_of_each_other():
    """The difference to the isolated predictor: which other queries there are matters."""
    model, context = build(), torch.randn(2, 4, 3, 8, dtype=torch.float64)
    both = model(context, GRID, VISIBLE, HIDDEN)
    alone = model(context, GRID, VISIBLE, HIDDEN[:, :1])
    assert not torch.allclose(both[:, :, :1], alone)


def test_checkpointing_changes_nothing():
    model, context = build(), torch.randn(2, 4, 3, 8, dtype=torch.float64)
    plain = model(context, GRID, VISIBLE, None)
    set_recompute(model.blocks, True)
    torch.testing.assert_close(model(context, GRID, VISIBLE, None), plain)


@pytest.mark.parametrize('wrong', [dict(ahead=-1), dict(ahead=1, causal=False)])
def test_reading_the_future_is_refused(wrong):
    with pytest.raises(ValueError, match='would read the frame it predicts'):
        build(**wrong)
