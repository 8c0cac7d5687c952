import json

import numpy as np
import pytest
import torch

from benchmarks.worlds.compare import (
    RESULTS,
    ROWS,
    attentive,
    check_results,
    first_of_each,
    floor_contrast,
    main,
    markdown,
    paired,
    world_config,
)
from nextvid_mm.config_files import checked_config, project_folder


@pytest.mark.parametrize('row', [row for row in ROWS if row.config], ids=lambda row: row.name)
def test_a_row_is_the_demo_s_on_videos_of_this_world(row, tmp_path):
    config = checked_config(str(world_config(row, tmp_path)), dict(row.options))
    (source,) = config.train_dataloader.dataset.sources
    assert source.dataset.data_prefix.video.startswith('data/bodies/')
    assert config.model.backbone.arch.embed_dims == 128
    for key, value in row.options:
        found = config
        for part in key.split('.'):
            found = found[int(part) if part.isdigit() else part]
        assert found == value or list(found) == list(value), key


def test_labels_are_the_first_of_each_class():
    labels = torch.tensor([0, 1, 0, 0, 1, 1])
    assert first_of_each(labels, 2).tolist() == [0, 1, 2, 4]
    assert first_of_each(labels, None).tolist() == list(range(6))


def test_the_probe_learns_what_one_token_says_and_chance_from_noise():
    torch.manual_seed(0)
    labels = torch.arange(96) % 2
    tokens = torch.randn(96, 4, 16)
    noise = attentive(tokens[:48], labels[:48], tokens[48:], labels[48:], 5, 0)
    assert abs((noise == labels[48:]).float().mean() - 0.5) < 0.25
    tokens[:, 2, :8] += 6 * (labels[:, None] - 0.5)
    answers = attentive(tokens[:48], labels[:48], tokens[48:], labels[48:], 20, 0)
    assert answers.shape == (4, 48)
    assert (answers == labels[48:]).float().mean(1).max() > 0.8


def test_differences_are_taken_clip_by_clip():
    change, half = paired('0120', '0000', [0, 1, 2, 1])
    assert change == pytest.approx(50)
    assert half == pytest.approx(1.96 * np.std([0, 100, 100, 0], ddof=1) / 2)


def test_the_table_compares_with_random_weights_of_the_same_seed(tmp_path):
    of = dict.fromkeys(('k-NN', 'linear', '10', '100', 'all'), 50.0)
    for name, title, contrast, answers, scale in (
        ('untrained', 'untrained', 1.0, '0000', 0),
        ('full', 'full method', 1.0, '0120', 1.0),
        ('full', 'full method', 0.25, '0120', 1.0),
    ):
        record = dict(
            row=name, title=title, contrast=contrast, seed=0, steps_scale=scale,
            clips_val=4, rank=9.0,
            how=of | dict(answers=answers), what=of | dict(answers='0000'),
        )  # fmt: skip
        (tmp_path / f'{name}_{contrast}.json').write_text(json.dumps(record))
    truth = dict(how=[0, 1, 2, 1, 7], what=[0, 1, 2, 1, 7])
    lines = markdown(tmp_path, truth).splitlines()
    assert len(lines) == 5
    assert '| – |' in lines[2]
    assert '+50.0 ± 56.6' in lines[3]
    assert lines[4].startswith('| 0.25 | full method |')
    assert '| – |' in lines[4]  # random weights have not seen this floor


def test_the_command_prints_the_results_of_the_repository(monkeypatch, capsys):
    monkeypatch.chdir(project_folder())
    main(['--no-run'])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(list(RESULTS.glob('*.json')))


def test_results_of_other_videos_or_settings_are_refused(monkeypatch, tmp_path):
    (tmp_path / 'how').mkdir()
    for split, count in (('train', 3), ('val', 2)):
        (tmp_path / f'how/{split}.txt').write_text('a.mp4 0\n' * count)
    monkeypatch.setenv('BODIES', str(tmp_path))
    rows = [row for row in ROWS if row.name in ('clip-norm', 'next-frame')]
    record = dict(
        row='clip-norm', clips_train=3, clips_val=2, config=rows[1].config,
        options={'model.align_head.normalize_target': 'clip'},
    )  # fmt: skip
    assert rows[1].name == 'clip-norm'
    path = tmp_path / 'results/clip-norm.json'
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    check_results(path.parent, rows)
    for key, other in (('clips_train', 4), ('options', {}), ('config', 'other.py')):
        path.write_text(json.dumps(record | {key: other}))
        with pytest.raises(ValueError, match=f'clip-norm.json has {key}='):
            check_results(path.parent, rows)
    path.write_text(json.dumps(record | dict(row='next-frame', config=rows[0].config, options={})))
    check_results(path.parent, rows)


def test_another_folder_of_videos_is_named_by_a_variable(monkeypatch, tmp_path):
    (tmp_path / 'spec.txt').write_text('seed 0\ncontrast 0.25\n')
    monkeypatch.setenv('BODIES', str(tmp_path))
    assert floor_contrast() == 0.25
    (row,) = (row for row in ROWS if row.name == 'full')
    config = checked_config(str(world_config(row, tmp_path / 'work')))
    (source,) = config.train_dataloader.dataset.sources
    assert source.dataset.data_prefix.video == f'{tmp_path}/videos_train'
