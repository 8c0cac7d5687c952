"""Several processes train what one process trains."""

import pytest
import torch
from processes import run
from toy_training import STAGES, read_records, train

# No dropout and no noise: their draws belong to a process, the losses otherwise to the clips.
QUIET = {
    'model.dropout': 0.0,
    'model.noise': 0.0,
    'default_hooks.checkpoint.interval': 100,
    'default_hooks.checkpoint.save_last': True,
}


@pytest.fixture(scope='module')
def single(tmp_path_factory):
    path = tmp_path_factory.mktemp('single')
    train(path, **QUIET)
    return path


def _train(path, micro):
    stages = [stage | dict(micro_batch_size=micro) for stage in STAGES]
    train(path, stages=stages, launcher='pytorch', **QUIET)


@pytest.mark.parametrize(
    ('world_size', 'micro'), [(2, None), (2, 1), (4, 1)], ids=['2', '2x4', '4x2']
)
def test_losses_and_weights_equal_one_process(tmp_path, single, world_size, micro):
    """Same clips per step whatever the split: equal up to the order of summation (1e-5)."""
    assert run(_train, tmp_path, micro, world_size=world_size) == [0] * world_size
    ours, theirs = (read_records(p / 'records.jsonl') for p in (tmp_path, single))
    for step, record in theirs.items():
        assert ours[step]['lr'] == record['lr']
        for key, value in record['outputs'].items():
            found = float.fromhex(ours[step]['outputs'][key])
            assert found == pytest.approx(float.fromhex(value), rel=1e-5), (step, key)
        norm = float.fromhex(record['grad_norm'])
        assert float.fromhex(ours[step]['grad_norm']) == pytest.approx(norm, rel=1e-4)
    weights, expected = (
        torch.load(p / 'iter_16.pth', weights_only=True)['state_dict'] for p in (tmp_path, single)
    )
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6, msg=name)


def _two_masters(path):
    from mmengine.dist import all_gather_object
    from mmengine.model import is_model_wrapper

    runner = train(path, launcher='pytorch', **QUIET)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    states = all_gather_object({k: v.clone() for k, v in model.state_dict().items()})
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_processes_stay_equal_including_the_reference_encoder(tmp_path):
    assert run(_two_masters, tmp_path, world_size=2) == [0, 0]


def test_a_world_size_that_cannot_reach_the_batch(tmp_path, capfd):
    assert run(_train, tmp_path, None, world_size=3) == [1, 1, 1]
    assert 'batch_size=8 cannot be split evenly over 3 processes' in capfd.readouterr().err
