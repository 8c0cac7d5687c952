"""tools/evaluate.py."""

import json

import pytest
from probe_run import make_videos, probe_run, save_encoder

from nextvid_mm.cli.evaluate import _row


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('evaluate')
    make_videos(path / 'data')
    save_encoder(path / 'encoder.pth')
    config = probe_run(path / 'data', path)
    config.pop('experiment_name')
    config.pop('work_dir')
    (path / 'toy.py').write_text(config.pretty_text)
    return path


def test_one_command_gives_the_table(root, call, tmp_path, capsys):
    words = ['--data', root / 'toy.py', '--seeds', 0, 1, '--labels', 50, 100]
    words += ['--protocols', 'knn', 'linear', '--untrained', '--work-dir', 'table']
    assert call('evaluate', f'ours={root / "encoder.pth"}', *words) == 0
    printed = capsys.readouterr().out
    assert 'untrained' in printed
    found = json.loads((tmp_path / 'table/evaluation.json').read_text())
    assert len(found['entries']) == 2 * 2 * 2
    assert call('evaluate', f'ours={root / "encoder.pth"}', *words) == 0
    assert 'seed 0:' not in capsys.readouterr().out, 'nothing is done twice'


def test_early_recognition_beside_the_table(root, call, tmp_path):
    words = ['--data', root / 'toy.py', '--protocols', 'knn', '--seeds', 0]
    words += ['--anticipation', 50, 100, '--corruptions', '--work-dir', 'table']
    for _ in range(2):
        assert call('evaluate', root / 'encoder.pth', *words) == 0
    (curve,) = json.loads((tmp_path / 'table/anticipation.json').read_text())
    assert curve['shares'] == [50.0, 100.0]
    (row,) = json.loads((tmp_path / 'table/corruptions.json').read_text()).values()
    assert 0 <= row['reversed'] <= 100
    words[words.index(50)] = 25
    assert 'shares differ' in call('evaluate', root / 'encoder.pth', *words)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['e.pth', '--data', 'k401'], 'configs/probe/k401.py does not exist'),
        (['=e.pth', '--data', 'TOY'], "'' is no name of a row"),
        (['ENCODER', '--data', 'TOY', 'TOY'], 'two of them have the same name'),
        (['ENCODER', '--data', 'TOY', '--finetune', 'a.py', 'b.py'], '--finetune has 2 configs'),
        (['ENCODER', '--data', 'TOY', '--labels', '1'], '--labels 1: class 0'),
        (
            ['ENCODER', '--data', 'TOY', '--protocols', 'knn', '--lead-times', '1'],
            '--lead-times needs clips of a known length',
        ),
    ],
)
def test_wrong_words(root, call, words, message):
    known = dict(TOY=root / 'toy.py', ENCODER=root / 'encoder.pth')
    assert message in str(call('evaluate', *(known.get(word, word) for word in words)))


def test_a_folder_is_a_model_of_transformers(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "dinov2"}')
    row = _row(f'dino={tmp_path}', None)
    assert row.backbone == dict(type='TransformersEncoder', path=str(tmp_path))


def test_a_path_may_hold_an_equals_sign(tmp_path):
    path = tmp_path / 'lr=0.1/dino'
    path.mkdir(parents=True)
    (path / 'config.json').write_text('{"model_type": "dinov2"}')
    assert [
        (_row(word, None).name, _row(word, None).path) for word in (str(path), f'a={path}')
    ] == [
        ('dino', str(path)),
        ('a', str(path)),
    ]
