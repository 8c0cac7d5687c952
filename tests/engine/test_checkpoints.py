"""Complete files, the newest good one, what may start and what may continue a run."""

import os
import shutil

import pytest
import torch

from nextvid_mm.engine.checkpoints import (
    AtomicLocalBackend,
    compare_data,
    compare_tables,
    damage,
    describe_data,
    fit_start_weights,
    list_checkpoints,
    newest_good,
)
from nextvid_mm.engine.stages import StageTable

NAME = 'iter_{}.pth'


@pytest.fixture
def checkpoints(tmp_path):
    """Three checkpoints, one second apart; ``last_checkpoint`` names the third."""
    for number in (10, 20, 30):
        path = tmp_path / NAME.format(number)
        torch.save(dict(weight=torch.full((500,), float(number))), path)
        os.utime(path, (number, number))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / NAME.format(30)))
    (tmp_path / 'best_acc_iter_40.pth').write_bytes(b'')
    return tmp_path


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((2,), 30.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b'')


def overwrite(path):
    path.write_bytes(b'\0' * path.stat().st_size)


@pytest.mark.parametrize('harm', [flip_bit, truncate, empty, overwrite, os.unlink])
def test_the_newest_good_one_is_taken(checkpoints, harm):
    last = checkpoints / NAME.format(30)
    assert newest_good(checkpoints, NAME) == (last, {})
    assert damage(last) is None
    harm(last)
    assert damage(last)
    path, damaged = newest_good(checkpoints, NAME)
    assert path.name == 'iter_20.pth'
    assert list(damaged) == [last]


def test_last_checkpoint_wins_over_files_of_an_earlier_run(checkpoints):
    (checkpoints / 'last_checkpoint').write_text('/moved/elsewhere/iter_10.pth')
    assert newest_good(checkpoints, NAME)[0].name == 'iter_10.pth'


def test_a_copied_folder_does_not_go_on_from_the_file_of_the_first(checkpoints, tmp_path):
    copy = tmp_path / 'copy'
    copy.mkdir()
    shutil.copy(checkpoints / 'iter_10.pth', copy)
    (copy / 'last_checkpoint').write_text(str(checkpoints / 'iter_30.pth'))
    assert newest_good(copy, NAME)[0] == copy / 'iter_10.pth'


def test_none_is_good(tmp_path):
    assert newest_good(tmp_path, NAME) == (None, {})
    (tmp_path / NAME.format(1)).write_bytes(b'PK')
    path, damaged = newest_good(tmp_path, NAME)
    assert path is None
    assert len(damaged) == 1


def test_listing_ignores_other_names_and_sorts_by_age(checkpoints):
    names = [path.name for path in list_checkpoints(checkpoints, NAME)]
    assert names == ['iter_30.pth', 'iter_20.pth', 'iter_10.pth']


def test_files_of_the_format_before_zip_pass(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(dict(a=1), path, _use_new_zipfile_serialization=False)
    assert damage(path) is None


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'sub' / 'a.pth'
    backend = AtomicLocalBackend()
    for content in (b'first', b'second'):
        backend.put(content, path)
        assert path.read_bytes() == content
    backend.put_text('third', path)
    assert path.read_text() == 'third'
    assert os.listdir(path.parent) == ['a.pth']


MODEL = {
    'backbone.a': torch.zeros(2),
    'backbone.b': torch.zeros(3),
    'neck.a': torch.zeros(4),
    'reference.encoder.a': torch.zeros(2),
    'reference.encoder.b': torch.zeros(3),
    '_extra_state': torch.zeros(1),
}
PLACES = ('backbone', 'reference.encoder')
ENCODER = {'backbone.a': torch.ones(2), 'backbone.b': torch.ones(3)}


def test_a_whole_model_passes_unchanged():
    weights = dict(MODEL)
    assert not fit_start_weights(weights, MODEL, 'x')
    assert weights == MODEL


def test_an_encoder_alone_fills_the_reference_too():
    weights = dict(ENCODER)
    assert fit_start_weights(weights, MODEL, 'x')
    assert set(weights) == {f'{place}.{part}' for place in PLACES for part in 'ab'}
    assert torch.equal(weights['reference.encoder.b'], torch.ones(3))


def test_an_encoder_alone_for_a_model_without_reference():
    weights = dict(ENCODER)
    present = {name: v for name, v in MODEL.items() if not name.startswith('reference.')}
    assert fit_start_weights(weights, present, 'x')
    assert weights == ENCODER


def test_names_of_a_wrapped_model_lose_their_prefix():
    weights = {f'module.{name}': value for name, value in ENCODER.items()}
    assert fit_start_weights(weights, MODEL, 'x')
    assert all(not name.startswith('module.') for name in weights)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({}, r'missing \(5\): backbone\.a'),
        ({**MODEL, 'neck.b': torch.zeros(1)}, r'unexpected \(1\): neck\.b'),
        ({k: v for k, v in MODEL.items() if 'neck' not in k}, r'missing \(1\): neck\.a \(4,\)'),
        ({**MODEL, 'neck.a': torch.zeros(9)}, r'neck\.a: \(9,\) in the file, \(4,\) expected'),
        ({'backbone.a': torch.ones(2)}, r'missing \(1\): backbone\.b'),
        ({**ENCODER, 'backbone.c': torch.ones(1)}, r'unexpected \(1\): backbone\.c'),
    ],
)
def test_anything_else_is_refused_with_names(weights, message):
    with pytest.raises(ValueError, match=r'^load_from=x: [\s\S]*' + message):
        fit_start_weights(weights, MODEL, 'load_from=x')


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
