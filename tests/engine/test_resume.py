"""Which checkpoints may continue a run, and what is said about the others."""

import pytest

from nextvid_mm.engine.resume import compare_data, compare_tables, describe_data
from nextvid_mm.engine.stages import StageTable


def stage(name, **changes):
    return dict(
        name=name, steps=10, lr=(1.0, 2.0), tau_samples=1, num_frames=2, batch_size=8
    ) | changes  # fmt: skip


OLD = [stage('a'), stage('b'), stage('c')]


def compare(new, step):
    return compare_tables(StageTable(OLD).to_dicts(), StageTable(new), step)


@pytest.mark.parametrize('step', [0, 5, 10, 15, 30])
def test_the_same_table_passes_in_silence(step):
    assert compare(OLD, step) == []


def test_names_and_micro_batches_are_free():
    assert compare([stage('x', micro_batch_size=2), *OLD[1:]], 25) == []


@pytest.mark.parametrize(
    ('new', 'step', 'lines'),
    [
        ([*OLD, stage('d')], 30, 1),  # a fourth stage, on the end of a finished run
        ([*OLD[:2], stage('c', steps=20)], 25, 1),  # a longer stage, in the middle of it
        ([OLD[0], stage('b', lr=(9.0, 9.0), tau_samples=4), OLD[2]], 15, 2),
        ([OLD[0], stage('b', steps=5), OLD[2]], 15, 1),  # shorter, down to the present step
        (OLD[:2], 15, 1),  # the last stage dropped before it began
        ([stage('a', batch_size=16), *OLD[1:]], 0, 1),  # nothing has been trained yet
    ],
)
def test_changes_from_here_on_are_listed(new, step, lines):
    assert len(compare(new, step)) == lines


@pytest.mark.parametrize(
    ('new', 'step', 'message'),
    [
        ([stage('a', lr=(1.0, 3.0)), *OLD[1:]], 15, 'stage 1 (a): lr=(1.0, 2.0) in the checkpoint'),
        ([stage('a', steps=12), *OLD[1:]], 15, 'steps=10 in the checkpoint, 12 in the config'),
        ([stage('a', ema_momentum=0.5), *OLD[1:]], 10, 'ema_momentum'),
        ([OLD[0], stage('b', batch_size=4), OLD[2]], 15, 'batch_size=8'),
        ([OLD[0], stage('b', steps=3), OLD[2]], 15, 'steps=10'),
        (OLD[:1], 15, 'ends at 10'),
        (OLD[1:], 25, 'ends at 20'),
    ],
)
def test_another_past_is_refused_with_the_difference(new, step, message):
    with pytest.raises(ValueError, match=r'.') as error:
        compare(new, step)
    assert message in str(error.value)


def test_a_stage_missing_from_the_past_is_refused():
    old = StageTable([stage('a', steps=2), stage('b', steps=2)]).to_dicts()
    with pytest.raises(ValueError, match="'b' in the checkpoint, absent in the config"):
        compare_tables(old, StageTable([stage('a', steps=4)]), 3)


def test_data_is_described_by_what_orders_the_clips():
    class Mixture:
        names, weights, lengths = ('a', 'b'), (1.0, 2.0), (10, 20)

    saved = describe_data(Mixture())
    assert saved == dict(names=['a', 'b'], weights=[1.0, 2.0], lengths=[10, 20])
    assert compare_data(saved, saved) == []
    Mixture.lengths = (10, 19)
    assert compare_data(saved, describe_data(Mixture())) == [
        'lengths: [10, 20] in the checkpoint, [10, 19] in the config'
    ]
    assert describe_data(object()) is None
    assert compare_data(None, saved) == compare_data(saved, None) == []
