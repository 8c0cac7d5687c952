import pytest
import torch
from tiny import wake

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

GRID = TokenGrid(5, 3, 4)


def make(**changes):
    settings = dict(in_channels=24, embed_dims=12, depth=2, num_heads=2) | changes
    model = MODELS.build(dict(type='QFormerPredictor', **settings))
    model.init_weights()
    return model


def predict(model, context):
    visible = torch.tensor([[0, 5, 7], [2, 3, 11]])
    queried = torch.tensor([[1, 4], [6, 10]])
    return model(context, GRID, visible, queried)


def test_a_frame_is_predicted_from_strictly_earlier_ones():
    model, context = wake(make()), torch.randn(2, 5, 3, 24)
    other = context.clone()
    other[:, 2] = torch.randn_like(other[:, 2])
    with torch.no_grad():
        moved = (predict(model, context) - predict(model, other)).abs().amax(dim=(0, 2, 3))
    assert moved.shape == (4,), 'frames 1 to 4'
    assert moved[:2].max() == 0, 'frames 1 and 2 must not hear of frame 2'
    assert moved[2:].min() > 0


def test_the_last_frame_of_the_context_is_never_used():
    model, context = wake(make()), torch.randn(2, 5, 3, 24, requires_grad=True)
    predict(model, context).sum().backward()
    assert torch.count_nonzero(context.grad[:, -1]) == 0
    assert torch.count_nonzero(context.grad[:, :-1]) > 0


def test_the_query_starts_at_zero_and_positions_tell_predictions_apart():
    model = make()
    assert torch.count_nonzero(model.query) == 0
    z = predict(wake(model), torch.randn(2, 5, 3, 24))
    assert (z[:, :, 0] - z[:, :, 1]).abs().max() > 0


def test_checkpointing_changes_nothing():
    plain, saving = make(), make(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    context = torch.randn(2, 5, 3, 24)
    for model in (plain, saving):
        predict(model, context).square().sum().backward()
    torch.testing.assert_close(plain.query.grad, saving.query.grad)


def test_published_size():
    with torch.device('meta'):
        model = MODELS.build(dict(type='QFormerPredictor', in_channels=1024))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(22, abs=0.5)


@pytest.mark.parametrize('steps', [[1, 1, 1, 1], [3, 1], [4]])
@pytest.mark.parametrize('masked', [False, True])
def test_cached_predictions_equal_the_full_pass(steps, masked):
    model = wake(make()).double().eval()
    visible = torch.tensor([[0, 3, 9], [1, 2, 11]]) if masked else None
    queried = torch.tensor([[1, 2], [4, 5]]) if masked else None
    context = torch.randn(2, 5, 3 if masked else 12, 24, dtype=torch.float64)
    with torch.no_grad():
        full = model(context, GRID, visible, queried)
    cache, seen = model.make_cache(window=4), 0
    for part in context[:, :4].split(steps, dim=1):
        seen += part.shape[1]
        z = model.predict_next(part, GRID.with_tubelets(part.shape[1]), cache, visible, queried)
        torch.testing.assert_close(z, full[:, seen - 1 : seen], atol=1e-12, rtol=1e-10)
