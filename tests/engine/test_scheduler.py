"""Rates and decay of every group and step."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from nextvid_mm.engine.scheduler import StageParamScheduler
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.registry import PARAM_SCHEDULERS


def stage(name, **changes):
    return dict(
        name=name, steps=5, lr=(1.0, 2.0), tau_samples=1, num_frames=2, batch_size=2
    ) | changes  # fmt: skip


STAGES = [stage('a'), stage('b', flow_lr=(4.0, 3.0), weight_decay=0.5), stage('c', steps=3)]


@pytest.fixture
def optimizer():
    groups = [
        dict(params=[nn.Parameter(torch.ones(2))], group='base', decay=True),
        dict(params=[nn.Parameter(torch.ones(2))], group='base', decay=False, weight_decay=0.0),
        dict(params=[nn.Parameter(torch.ones(2))], group='flow', decay=True),
    ]
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.04)


def rates(optimizer):
    return [group['lr'] for group in optimizer.param_groups]


def test_every_step_of_every_group(optimizer):
    table = StageTable(STAGES)
    scheduler = StageParamScheduler(optimizer, table)
    for step in range(table.total_steps):
        base, flow = table.lr(step), table.lr(step, 'flow')
        assert rates(optimizer) == [base, base, flow]
        assert scheduler.get_last_value() == rates(optimizer)
        expected = 0.5 if 5 <= step < 10 else 0.04
        assert [g['weight_decay'] for g in optimizer.param_groups] == [expected, 0.0, expected]
        scheduler.step()
    assert rates(optimizer) == [2.0, 2.0, 2.0]  # past the end: as in the last step


def test_weight_decay_of_groups_that_do_not_say_whether_it_applies_is_left_alone(optimizer):
    optimizer.param_groups[1]['weight_decay'] = 0.3
    del optimizer.param_groups[1]['decay']
    StageParamScheduler(optimizer, STAGES).seek(5)
    assert [group['weight_decay'] for group in optimizer.param_groups] == [0.5, 0.3, 0.5]


def test_weight_decay_that_is_taken_out_of_the_table_ends_with_the_resume(optimizer):
    scheduler = StageParamScheduler(optimizer, [stage('a', weight_decay=0.5)])
    scheduler.seek(3)
    saved = optimizer.state_dict()
    again = StageParamScheduler(optimizer, [stage('a')])
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]['weight_decay'] == 0.5
    again.load_state_dict(scheduler.state_dict())
    assert [group['weight_decay'] for group in optimizer.param_groups] == [0.04, 0.0, 0.04]


def test_an_optimiser_without_weight_decay_gets_none():
    group = dict(params=[nn.Parameter(torch.ones(2))], decay=True)
    optimizer = torch.optim.Rprop([group], lr=0.0)
    StageParamScheduler(optimizer, [stage('a')])
    assert 'weight_decay' not in optimizer.param_groups[0]


@pytest.mark.parametrize('step', [0, 3, 4, 5, 9, 10, 12])
def test_resume_restores_exactly_this_step(optimizer, step):
    scheduler = StageParamScheduler(optimizer, STAGES)
    for _ in range(step):
        scheduler.step()
    expected, saved = rates(optimizer), scheduler.state_dict()
    assert saved == dict(last_step=step)
    for group in optimizer.param_groups:  # what loading an optimiser's state would bring back
        group['lr'] = -1.0
    again = StageParamScheduler(optimizer, STAGES)
    again.load_state_dict(saved)
    assert rates(optimizer) == expected
    again.step()
    scheduler.step()
    assert again.last_step == scheduler.last_step == step + 1


def test_resuming_with_an_extended_table_follows_the_new_one(optimizer):
    scheduler = StageParamScheduler(optimizer, STAGES)
    scheduler.seek(12)
    longer = [*STAGES, stage('d', lr=(9.0, 9.0))]
    again = StageParamScheduler(optimizer, longer)
    again.load_state_dict(scheduler.state_dict())
    again.step()
    assert rates(optimizer) == [9.0, 9.0, 9.0]


def test_factor_on_all_rates(optimizer):
    StageParamScheduler(optimizer, STAGES, lr_scale=0.5)
    assert rates(optimizer) == [0.5, 0.5, 0.5]


def test_wrapper_and_untagged_groups():
    parameters = [dict(params=[nn.Parameter(torch.ones(1))]) for _ in range(2)]
    wrapper = OptimWrapper(torch.optim.SGD(parameters, lr=0.1))
    StageParamScheduler(wrapper, [stage('a')])
    assert wrapper.get_lr() == dict(base_lr=[1.0], lr=[1.0, 1.0])


def test_built_as_the_runner_builds_it(optimizer):
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='StageParamScheduler', stages=STAGES, end=13),
        default_args=dict(optimizer=optimizer, epoch_length=10**6),
    )
    assert not scheduler.by_epoch


def test_contradictions_are_refused(optimizer):
    with pytest.raises(ValueError, match='StageTrainLoop'):
        StageParamScheduler(optimizer)
    with pytest.raises(ValueError, match=r'end=100.*13 steps'):
        StageParamScheduler(optimizer, STAGES, end=100)
    optimizer.param_groups[2]['group'] = 'decoder'
    with pytest.raises(ValueError, match='decoder'):
        StageParamScheduler(optimizer, STAGES)
    plain = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match=r'flow_lr.*StageOptimWrapperConstructor'):
        StageParamScheduler(plain, STAGES)
    with pytest.raises(ValueError, match=r'weight_decay.*StageOptimWrapperConstructor'):
        StageParamScheduler(plain, [stage('a', weight_decay=0.1)])


def test_a_model_without_decoder_needs_no_flow_group():
    groups = [dict(params=[nn.Parameter(torch.ones(2))], group='base', decay=True)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.04)
    StageParamScheduler(optimizer, STAGES).seek(5)
    assert optimizer.param_groups[0]['lr'] == 1.0
