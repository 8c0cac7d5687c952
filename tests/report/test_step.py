"""A step taken apart: its pieces are those of the loss, and what reads what is measured."""

import numpy as np
import pytest
import torch

from nextvid_mm.report.step import look_at_step


def test_the_pieces_make_up_the_loss_of_training(step_config):
    look = look_at_step(step_config, step=1, clips=3)
    assert [info['position'] for info in look.batch.info] == [4, 5, 6], 'the second batch of four'
    assert len(look.strategies) == 2
    again = look.model.loss(look.clip, look.batch)
    for name, value in look.losses.items():
        parts = [strategy.losses[name] for strategy in look.strategies]
        assert all(part.shape == (3,) for part in parts), 'one for each predicted tubelet'
        assert torch.stack(parts).mean().item() == pytest.approx(value, rel=1e-5)
        assert again[name].item() == pytest.approx(value, rel=1e-6)
    flow = look.strategies[0].flow
    assert flow.noise.shape[2] == 3, 'tau samples of the stage'
    torch.testing.assert_close(flow.velocity, flow.data - flow.noise)
    assert set(look.grad_norms) == {'backbone', 'neck', 'head', 'align_head'}
    assert all(norm > 0 for norm in look.grad_norms.values())


def test_influence_is_the_three_patterns(step_config):
    reach = look_at_step(step_config, clips=1).influence
    encoder, predictor, decoder = (reach[n] for n in ('encoder', 'predictor', 'decoder'))
    assert ((encoder > 0) == np.tri(4, dtype=bool)).all(), 'own and earlier tubelets'
    assert ((predictor > 0) == np.tri(3, dtype=bool)).all(), 'row 0 is tubelet 1: earlier ones'
    assert ((decoder > 0) == np.eye(3, dtype=bool)).all(), 'one tubelet at a time'


def test_without_one_of_the_losses_and_from_a_checkpoint(step_config, tmp_path):
    step_config.model.update(align_head=None, reference=None)
    step_config.train_dataloader.dataset.pipeline[1].strategies = 'none'
    look = look_at_step(step_config, clips=2)
    assert set(look.losses) == {'loss_flow'}
    assert look.features is None
    torch.save(dict(state_dict=look.model.state_dict()), tmp_path / 'model.pth')
    torch.manual_seed(5)
    again = look_at_step(step_config, clips=2, checkpoint=str(tmp_path / 'model.pth'))
    assert again.losses == look.losses
    step_config.model.head = dict(type='RegressionHead', decoder=step_config.model.head.decoder)
    look = look_at_step(step_config, clips=2)
    ((name, value),) = look.losses.items()
    parts = [strategy.losses[name].mean() for strategy in look.strategies]
    assert torch.stack(parts).mean().item() == pytest.approx(value, rel=1e-5)
    assert look.strategies[0].flow is None
    assert set(look.influence) == {'encoder', 'predictor'}


@pytest.mark.parametrize(
    ('changes', 'settings', 'message'),
    [
        ({}, dict(step=2), 'step 2 is outside of the config’s 2 steps'),
        ({}, dict(clips=0), 'clips=0 must be a whole number of at least 1'),
        (dict(type='NextFrameRegression'), {}, 'only a step of NextVid'),
    ],
)
def test_bad_settings_are_refused(step_config, changes, settings, message):
    step_config.model.update(changes)
    with pytest.raises(ValueError, match=message):
        look_at_step(step_config, **settings)
