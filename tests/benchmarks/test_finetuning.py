"""Fine-tuning against training from scratch, on tiny videos."""

import pytest
from finetune_run import finetune_run
from probe_run import CLASSES, make_videos, probe_run, save_encoder

from benchmarks.finetuning import WAYS, LabelStudy, compare_starts, mean_and_spread
from nextvid_mm.datasets.video.files import read_list


@pytest.fixture(scope='module')
def make_study(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('few'))
    encoder = save_encoder(root / 'encoder.pth')

    def make(folder, steps=3):
        finetune = finetune_run(root, folder, encoder)
        finetune.param_scheduler = [finetune.param_scheduler]
        probe = probe_run(root, folder)
        return LabelStudy(finetune, probe, [encoder], root / 'train.txt', folder, steps)

    return make


def test_every_way_is_run_once_and_read_again(make_study, tmp_path, monkeypatch):
    report = compare_starts(make_study(tmp_path), labels=[2])
    cells = report.rows[0]['cells']
    assert [cell[0]['way'] for cell in cells] == list(WAYS)
    assert all(0 <= cell[0]['top1'] <= 100 for cell in cells)
    ahead = cells[0][0]['top1'] - cells[1][0]['top1']
    assert report.rows[0]['fine-tuned ahead'] == f'{ahead:+.1f}'
    monkeypatch.setitem(WAYS, 'k-NN', None)
    assert compare_starts(make_study(tmp_path), labels=[2]).rows == report.rows
    (tmp_path / 'fine-tuned_2_0.json').unlink()
    with pytest.raises(ValueError, match='result of other settings'):
        make_study(tmp_path, steps=4).cell('from scratch', 2, 0)


def test_labels_are_drawn_by_class_and_fewer_are_some_of_more(make_study, tmp_path):
    study = make_study(tmp_path)
    few, more = (read_list(study.labelled_list(count, 0)) for count in (1, 2))
    assert [entry.label for entry in more] == [label for label in range(CLASSES) for _ in '12']
    assert {entry.path for entry in few} < {entry.path for entry in more}
    with pytest.raises(ValueError, match='label 0 has .* videos, 99 are asked for'):
        study.labelled_list(99, 0)


def test_spread():
    assert mean_and_spread([1.0, 3.0]) == '2.0 ± 1.4'
    assert mean_and_spread([2.0], sign='+') == '+2.0'
