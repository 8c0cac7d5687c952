"""tools/predict.py: which model, which files, what is written, how it ends."""

import csv
import io
import itertools
import json
import sys
from types import SimpleNamespace

import pytest
from classifying import NAMES, save_result
from probe_run import make_videos

from nextvid_mm.cli import main
from nextvid_mm.cli.predict import output_names
from nextvid_mm.inferencers import Classifier
from nextvid_mm.models.checkpoints import config_text


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos, a config, its result, a work directory, a folder to give away."""
    root = make_videos(tmp_path_factory.mktemp('predict'))
    cfg, _ = save_result(root)
    (root / 'my_config.py').write_text(config_text(cfg))
    (root / 'names.txt').write_text('\n'.join(NAMES) + '\n')
    work = root / 'work'
    work.mkdir()
    (work / 'my_config.py').write_text(config_text(cfg))
    (root / 'finetuned.pth').rename(work / 'iter_9.pth')
    (work / 'last_checkpoint').write_text('elsewhere/run/iter_9.pth')
    (root / 'broken.mp4').write_bytes(b'no video')
    tool(root / 'my_config.py', work / 'iter_9.pth', '--classes', root / 'names.txt',
         '--save', root / 'folder')  # fmt: skip
    return root


def tool(*words):
    plain = [] if any(word == '--workers' for word in words) else ['--workers', '0']
    main('predict', [str(word) for word in (*words, *plain, '--device', 'cpu')])


def answers(capsys):
    return json.loads(capsys.readouterr().out)


def test_folder_work_directory_and_config_say_the_same(root, capsys):
    video, found = root / 'val/1.mp4', []
    for model in (
        [root / 'folder'],
        [root / 'work', video, '--classes', root / 'names.txt'],
        [root / 'my_config.py', root / 'work/iter_9.pth', video, '--classes', root / 'names.txt'],
    ):
        tool(*model, *([] if video in model else [video]), '--json', '-', '--top-k', 2)
        found.append(answers(capsys))
    assert found[0] == found[1] == found[2]
    (entry,) = found[0]['files']
    assert entry['path'] == str(video)
    assert [set(top) for top in entry['top']] == [{'label', 'name', 'probability'}] * 2
    assert entry['top'][0]['name'] in NAMES


def test_folders_lists_and_the_standard_input(root, capsys, monkeypatch):
    tool(root / 'folder', root / 'val', '--csv', '-', '--top-k', 1)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 7
    lines = (root / 'val.txt').read_bytes()
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=io.BytesIO(lines)))
    tool(root / 'folder', '-', '--root', root / 'val', '--csv', '-', '--top-k', 1)
    again = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    key = ('path', 'name')
    assert {tuple(r[k] for k in key) for r in again} == {tuple(r[k] for k in key) for r in rows}


def test_broken_files_are_listed_and_the_others_classified(root, capsys):
    tool(root / 'folder', root / 'broken.mp4', root / 'val/0.mp4')
    printed = capsys.readouterr()
    assert 'not read: ' in printed.err
    assert 'broken.mp4' in printed.err
    assert 'probability' in printed.out
    with pytest.raises(SystemExit, match='none of 1 files could be read'):
        tool(root / 'folder', root / 'broken.mp4')


def test_everything_is_written(root, tmp_path):
    tool(root / 'folder', root / 'val/0.mp4', root / 'train/0.mp4', '--segment', 1,
         '--timeline', tmp_path / 'lines', '--annotate', tmp_path / 'videos',
         '--json', tmp_path / 'p.json', '--csv', tmp_path / 'p.csv')  # fmt: skip
    files = json.loads((tmp_path / 'p.json').read_text())['files']
    assert [len(file['segments']) for file in files] == [2, 2]
    assert {p.suffix for p in (tmp_path / 'lines').iterdir()} == {'.png'}
    assert len(list((tmp_path / 'videos').glob('*.mp4'))) == 2
    assert len((tmp_path / 'p.csv').read_text().splitlines()) == 1 + 4 * 3


def test_names_of_outputs_differ():
    assert output_names(['a/x.mp4', 'b/y.mp4']) == ['x.mp4', 'y.mp4']
    assert output_names(['a/x.mp4', './b/x.mp4']) == ['a_x.mp4', 'b_x.mp4']
    assert output_names(['https://me:hidden@host/x.mp4?hidden']) == ['x.mp4']
    alike = ['../a/x.mp4', 'a/x.mp4', 'a_x.mp4', '2_a/x.mp4']
    assert output_names(alike) == ['a_x.mp4', '2_a_x.mp4', '3_a_x.mp4', '2_2_a_x.mp4']


@pytest.mark.parametrize('kind', [KeyboardInterrupt, MemoryError])
def test_what_is_classified_is_kept_when_the_work_ends_early(
    root, tmp_path, capsys, monkeypatch, kind
):
    scores, calls = Classifier.scores, itertools.count()

    def failing(self, samples):
        if next(calls) == 2:
            raise kind
        return scores(self, samples)

    monkeypatch.setattr(Classifier, 'scores', failing)
    with pytest.raises(SystemExit):
        tool(root / 'folder', root / 'val', '--batch-size', 2,
             '--json', tmp_path / 'p.json', '--csv', tmp_path / 'p.csv')  # fmt: skip
    files = json.loads((tmp_path / 'p.json').read_text())['files']
    assert [file['path'] for file in files] == [str(root / f'val/{n}.mp4') for n in range(4)]
    assert all(len(file['top']) == 3 for file in files)
    assert len((tmp_path / 'p.csv').read_text().splitlines()) == 1 + 4 * 3
    assert f'4 predictions, up to {root}/val/3.mp4, are in {tmp_path}/p.json and' in (
        ' '.join(capsys.readouterr().err.split())
    )


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nothing'], 'no such folder or config'),
        (['my_config.py'], 'give the checkpoint behind the config'),
        (['val'], 'holds neither a model folder'),
        (['folder'], 'nothing to classify'),
        (['folder', 'val', '--top-k', '0'], '--top-k 0 must be at least 1'),
        (['folder', 'val', '--timeline', 'x'], 'give their length by --segment'),
        (['folder', 'val', '--cfg-options', 'model.x=1'], 'give CONFIG CKPT instead'),
        (['folder', 'val', '--classes', 'val.txt'], '--classes has 7 names, .* 3 classes'),
        (['folder', 'val', '--classes', 'no.txt'], '--classes no.txt: there is no such file'),
        (['my_config.py', 'no.pth', 'val'], 'no.pth: there is no such checkpoint'),
        (['my_config.py', 'work/iter_9.pth', 'val', '--cfg-options',
          'model.cls_head.num_classes=4'], r'(?s)iter_9.pth with .*other shape'),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_message(root, words, message, monkeypatch):
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit, match=message):
        tool(*words)
