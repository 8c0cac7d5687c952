import weakref
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DATA_SAMPLERS as ROOT_SAMPLERS

from nextvid_mm.datasets import EpochSampler
from nextvid_mm.datasets.samplers import ClipSampler, StageBatchSampler

PLAN = [
    dict(steps=3, batch_size=24, micro_batch_size=4, num_frames=16),
    dict(steps=2, batch_size=12, micro_batch_size=2, num_frames=64),
]


@pytest.fixture
def mixture():
    return SimpleNamespace(names=['a', 'b'], weights=[0.6, 0.4], lengths=[50, 7])


@pytest.fixture
def sampler(mixture):
    return ClipSampler(mixture, seed=5)


def batches(sampler, rank=0, world_size=1, plan=PLAN, **kwargs):
    return list(StageBatchSampler(sampler, plan, rank=rank, world_size=world_size, **kwargs))


def test_positions_run_through_without_gap(sampler):
    positions = [request.position for batch in batches(sampler) for request in batch]
    assert positions == list(range(3 * 24 + 2 * 12))


def test_sizes_and_frames_follow_the_stage(sampler):
    found = [(len(batch), batch[0].num_frames) for batch in batches(sampler)]
    assert found == [(4, 16)] * 18 + [(2, 64)] * 12


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_a_step_is_the_same_clips_for_every_world_size(sampler, world_size):
    reference = {request.position: request for batch in batches(sampler) for request in batch}
    ranks = [batches(sampler, rank, world_size) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    per_step = 24 // (4 * world_size)
    for step in range(3):
        pieces = [
            batch for rank in ranks for batch in rank[step * per_step : (step + 1) * per_step]
        ]
        found = {request.position: request for batch in pieces for request in batch}
        assert found == {p: reference[p] for p in range(24 * step, 24 * (step + 1))}


def test_micro_batches_of_all_ranks_lie_side_by_side(sampler):
    first = [batches(sampler, rank, 2)[1] for rank in range(2)]
    assert [r.position for batch in first for r in batch] == list(range(8, 16))


@pytest.mark.parametrize('start', range(6))
def test_starting_late_skips_exactly_the_steps_before(sampler, start):
    whole = batches(sampler)
    done = min(start, 3) * 6 + max(start - 3, 0) * 6
    assert batches(sampler, start_step=start) == whole[done:]


def test_length_is_what_remains(sampler):
    for start in range(6):
        batch_sampler = StageBatchSampler(sampler, PLAN, rank=0, world_size=1)
        batch_sampler.set_start(start)
        assert len(batch_sampler) == len(list(batch_sampler))


def test_sources_and_items_follow_the_schedule(sampler):
    request = batches(sampler)[4][1]
    draws = sampler.schedule.draw(request.position)
    assert (request.source, request.index) == (draws.source[0], draws.item[0])


def test_seeds_depend_on_run_and_position_only(mixture, sampler):
    seeds = [r.seed for batch in batches(sampler) for r in batch]
    assert len(set(seeds)) == len(seeds)
    other = [r.seed for batch in batches(ClipSampler(mixture, seed=6)) for r in batch]
    assert not set(seeds) & set(other)


def test_is_built_the_way_the_runner_builds_it(mixture, default_scope):
    sampler = ROOT_SAMPLERS.build(
        dict(type='ClipSampler'), default_args=dict(dataset=mixture, seed=5)
    )
    plan = [(1, 8, 4, 16)]
    built = ROOT_SAMPLERS.build(
        dict(type='StageBatchSampler', plan=plan), default_args=dict(sampler=sampler, batch_size=1)
    )
    assert [len(batch) for batch in built] == [4, 4]
    assert built.sampler is sampler


def test_a_batch_that_cannot_be_shared_is_refused(sampler):
    with pytest.raises(ValueError, match='batch_size=100 cannot be reached by 4 processes'):
        StageBatchSampler(sampler, [(1, 100, 8, 16)], rank=0, world_size=4)
    StageBatchSampler(sampler, [(1, 100, 5, 16)], rank=0, world_size=4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(steps=0), 'steps=0 must be a whole number'),
        (dict(batch_size=2.5), 'batch_size=2.5'),
        (dict(num_frames=None), 'num_frames=None'),
    ],
)
def test_refuses_bad_plans(sampler, change, message):
    with pytest.raises(ValueError, match=message):
        StageBatchSampler(sampler, [{**PLAN[0], **change}], rank=0, world_size=1)


def test_refuses_other_misuse(sampler, mixture):
    with pytest.raises(ValueError, match='plan of StageBatchSampler is empty'):
        StageBatchSampler(sampler, [])
    with pytest.raises(ValueError, match='batch_size=64 would be ignored'):
        StageBatchSampler(sampler, PLAN, batch_size=64)
    with pytest.raises(ValueError, match='rank=2 is outside'):
        StageBatchSampler(sampler, PLAN, rank=2, world_size=2)
    with pytest.raises(ValueError, match='start step 6 is outside the plan of 5'):
        StageBatchSampler(sampler, PLAN, start_step=6)
    with pytest.raises(ValueError, match='diff_rank_seed'):
        ClipSampler(mixture, seed=None)
    with pytest.raises(TypeError, match='MixtureDataset'):
        ClipSampler([1, 2, 3], seed=0)


def epoch(rank=0, world=1, epoch=0, skip=0, seed=3):
    made = EpochSampler(range(7), shuffle=True, seed=seed)
    made.rank, made.world_size = rank, world
    made.num_samples = -(-7 // world)
    made.total_size = made.num_samples * world
    made.set_epoch(epoch)
    made.set_skip(skip)
    return list(made)


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own():
    first, second = epoch(epoch=0), epoch(epoch=1)
    assert sorted(r.index for r in first) == list(range(7))
    assert [r.index for r in first] != [r.index for r in second]
    assert not {r.seed for r in first} & {r.seed for r in second}
    assert first == epoch(epoch=0)
    assert first != epoch(epoch=0, seed=4)


def test_an_epoch_has_its_order_without_keeping_those_before(monkeypatch):
    alive, most = weakref.WeakSet(), []
    draw = torch.randperm

    def counted(*args, **kwargs):
        alive.add(order := draw(*args, **kwargs))
        most.append(len(alive))
        return order

    draws = torch.Generator().manual_seed(3)
    orders = [draw(7, generator=draws).tolist() for _ in range(20)]
    monkeypatch.setattr(torch, 'randperm', counted)
    assert [[r.index for r in epoch(epoch=n)] for n in (0, 1, 19)] == [
        orders[n] for n in (0, 1, 19)
    ]
    assert max(most) <= 2


def test_it_starts_inside_an_epoch():
    assert epoch(skip=3) == epoch()[3:]
    assert epoch(skip=7) == []


def test_processes_share_the_epoch_of_one_process():
    """The same global batches, with the same augmentation; one sample twice to fill up."""
    whole = epoch()
    parts = [epoch(rank, 2) for rank in (0, 1)]
    woven = [request for pair in zip(*parts, strict=True) for request in pair]
    assert woven[:7] == whole
    extra = SimpleNamespace(index=woven[7].index, seed=woven[7].seed)
    assert extra.index == whole[0].index
    assert extra.seed != whole[0].seed
