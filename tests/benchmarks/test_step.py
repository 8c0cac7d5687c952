import pytest
import torch

from benchmarks.step import PARTS, compare_steps, component_table, make_stepper, stopwatch
from benchmarks.workload import Workload

LOAD = Workload('tiny', frames=4, batch=1)


def test_ours_and_the_baselines_train_alike(monkeypatch):
    """Five steps of the optimiser on, weights have had time to part."""
    monkeypatch.setattr('benchmarks.step.precision', lambda device: None)
    losses = {}
    for kind in ('ours', 'dense', 'folded'):
        stepper = make_stepper(kind, LOAD)
        losses[kind] = [sum(stepper.step().values()) for _ in range(5)]
    assert losses['ours'][-1] < losses['ours'][0]
    for kind in ('dense', 'folded'):
        assert losses[kind] == pytest.approx(losses['ours'], abs=1e-3)


def test_a_step_moves_the_reference_encoder():
    stepper = make_stepper('ours', LOAD)
    before = stepper.model.reference.encoder.norm.bias.clone()
    stepper.step()
    assert not torch.equal(before, stepper.model.reference.encoder.norm.bias)


def test_the_comparison_reports_ratios_and_equal_losses(monkeypatch):
    monkeypatch.setattr('benchmarks.step.precision', lambda device: None)  # some CPUs take bfloat16
    report = compare_steps(LOAD, repeats=2)
    assert [row['step'] for row in report.rows] == [
        'ours',
        'baseline, dense decoder masks',
        'baseline, folded decoder masks',
    ]
    assert all(len(row['seconds']) == len(row['ratios']) == 2 for row in report.rows)
    assert all(row['largest difference of losses'] < 1e-4 for row in report.rows)
    assert report.rows[0]['times ours'] == 1


def test_the_parts_of_a_step_are_all_timed_and_do_not_exceed_it(monkeypatch):
    monkeypatch.setattr('benchmarks.step.matmul_peak', lambda *_, **__: 1e11)
    report = component_table(LOAD, repeats=1)
    seconds = {row['part']: row['median s'] for row in report.rows}
    assert set(seconds) == {*PARTS, 'whole step'}
    assert min(seconds.values()) > 0
    parts = sum(seconds[name] for name in PARTS)
    assert parts <= seconds['whole step']


def test_the_stopwatch_leaves_no_trace():
    stepper = make_stepper('ours', LOAD)
    with stopwatch(stepper, 'wall') as spent:
        stepper.step()
        assert 'forward' in stepper.model.head.__dict__
    assert set(spent) == set(PARTS)
    assert 'forward' not in stepper.model.head.__dict__
    assert 'step' not in stepper.optimizer.__dict__
