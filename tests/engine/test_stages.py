"""The stage table against the published schedule, and what it refuses."""

import pytest
from paper import STAGES

from nextvid_mm.engine.stages import Stage, StageTable


@pytest.fixture
def table():
    return StageTable(STAGES)


def small(**changes):
    return dict(
        name='a', steps=4, lr=1e-3, tau_samples=1, num_frames=2, batch_size=8
    ) | changes  # fmt: skip


@pytest.mark.parametrize(
    ('step', 'lr', 'flow_lr'),
    [
        # first, middle and last step of each stage
        (0, 1e-4, 1e-4),
        (6_000, 3e-4, 3e-4),
        (11_999, 5e-4, 5e-4),
        (12_000, 5e-4, 5e-4),
        (26_000, 4.75e-4, 4.75e-4),
        (39_999, 4.5e-4, 4.5e-4),
        (40_000, 4.5e-4, 8e-4),
        (80_000, 2.75e-4, 8e-4),
        (119_999, 1e-4, 8e-4),
        (120_000, 1e-4, 3e-4),
        (126_000, 5.05e-5, 3e-4),
        (131_999, 1e-6, 3e-4),
    ],
)
def test_learning_rates_are_the_published_ones(table, step, lr, flow_lr):
    # The middle of an even number of steps lies half a step beside the middle of the line.
    assert table.lr(step) == pytest.approx(lr, rel=1e-4)
    assert table.lr(step, 'flow') == pytest.approx(flow_lr, rel=1e-4)


def test_ends_of_a_stage_are_exact(table):
    for stage, start in zip(table, table.starts, strict=False):
        assert table.lr(start) == stage.lr[0]
        assert table.lr(start + stage.steps - 1) == stage.lr[1]


def test_totals_are_the_published_ones(table):
    assert table.total_steps == 132_000
    tokens_per_frame = 16 * 16
    tokens = sum(s.steps * s.batch_size * s.num_frames // 2 * tokens_per_frame for s in table)
    assert tokens == pytest.approx(830e9, rel=1e-3)


def test_at_finds_the_stage_on_both_sides_of_a_border(table):
    assert [table.at(step)[0] for step in (0, 11_999, 12_000, 39_999, 120_000)] == [0, 0, 1, 1, 3]
    assert table.at(12_000)[2] == 0
    assert table.at(39_999)[2] == 27_999
    for step in (-1, 132_000):
        with pytest.raises(IndexError, match='132000 steps'):
            table.at(step)


def test_one_step_stage_and_unknown_group():
    table = StageTable([small(steps=1, lr=(1e-3, 1e-5))])
    assert table.lr(0) == 1e-3
    with pytest.raises(ValueError, match='decoder'):
        table.lr(0, 'decoder')


def test_samples_before_counts_clips():
    table = StageTable([small(steps=3, batch_size=8), small(name='b', steps=2, batch_size=4)])
    assert [table.samples_before(step) for step in range(6)] == [0, 8, 16, 24, 28, 32]
    with pytest.raises(IndexError):
        table.samples_before(6)


@pytest.mark.parametrize('world_size', [1, 2, 3, 4, 6, 8, 12, 24, 96, 128])
@pytest.mark.parametrize('micro', [None, 1, 5, 32, 4096])
def test_any_dividing_world_size_reaches_the_global_batch(world_size, micro):
    table = StageTable([small(batch_size=3072, micro_batch_size=micro)])
    if 3072 % world_size:
        with pytest.raises(ValueError, match='cannot be split'):
            table.batches(world_size)
        return
    (batch,) = table.batches(world_size)
    assert batch.micro_batch_size * batch.accumulation * world_size == 3072
    assert batch.micro_batch_size <= (micro or 3072)
    assert table.plan(world_size) == [(4, 3072, batch.micro_batch_size, 2)]


def test_world_size_that_cannot_reach_the_batch_says_which_can():
    with pytest.raises(ValueError, match=r"'a'.*batch_size=8.*3 processes.*2 is the next lower"):
        StageTable([small()]).batches(3)


def test_round_trip_through_plain_data(table):
    assert StageTable(table.to_dicts()).stages == table.stages


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(steps=0), 'steps=0'),
        (dict(steps=2.5), 'steps=2.5'),
        (dict(batch_size=0), 'batch_size=0'),
        (dict(micro_batch_size=0), 'micro_batch_size=0'),
        (dict(num_frames=-2), 'num_frames=-2'),
        (dict(tau_samples=True), 'tau_samples=True'),
        (dict(lr=(1e-3, 1e-4, 1e-5)), 'lr='),
        (dict(lr=None), 'lr=None'),
        (dict(lr=float('nan')), 'lr=nan'),
        (dict(flow_lr=(1e-3, -1)), 'flow_lr='),
        (dict(ema_momentum=1.5), 'ema_momentum=1.5'),
        (dict(ema_momentum=0.0002), 'ema_momentum=0.0002 weighs the old weights'),
        (dict(weight_decay=-0.1), 'weight_decay=-0.1'),
        (dict(tau_sample=4), "unknown key 'tau_sample'. Did you mean 'tau_samples'"),
        (dict(name=''), 'name'),
    ],
)
def test_wrong_values_are_named(change, message):
    with pytest.raises(ValueError, match=r'.*') as error:
        StageTable([small(**change)])
    assert message in str(error.value)


@pytest.mark.parametrize('stages', [[], None, dict(name='a')])
def test_no_stages(stages):
    with pytest.raises(ValueError, match='at least one stage'):
        StageTable(stages)


def test_missing_keys_and_repeated_names():
    with pytest.raises(ValueError, match=r"stages\[0\] \(a\): missing \['lr', 'batch_size'\]"):
        StageTable([dict(name='a', steps=1, tau_samples=1, num_frames=2)])
    with pytest.raises(ValueError, match='names must differ'):
        StageTable([small(), small()])
    with pytest.raises(ValueError, match='must be a dict'):
        StageTable([3])


def test_stage_objects_are_taken_as_they_are():
    stage = Stage(**small())
    assert StageTable([stage]).stages == (stage,)
