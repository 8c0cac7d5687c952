"""What an evaluation leaves, and what ProbeHook checks before."""

import json
import math

import pytest
import torch
from probe_run import CLASSES, NUM_VAL, make_videos, probe_run, save_encoder, train
from toy_training import ToyRunner

from nextvid_mm.engine.probe import ProbeHook
from nextvid_mm.engine.probe.results import (
    MEASURED,
    config_of,
    differences,
    draw_confusion,
    read_record,
    versions,
)


def record(**changes):
    made = {key: [1, 2] for key in MEASURED} | dict(
        config='a = 1', checkpoint='x.pth', split='val', head_sha256='ab', top1=50.0
    )
    return made | changes


def test_only_a_record_is_read(tmp_path):
    path = tmp_path / 'r.json'
    with pytest.raises(FileNotFoundError, match=r'r\.json'):
        read_record(path)
    path.write_text('{')
    with pytest.raises(ValueError, match='is not JSON'):
        read_record(path)
    path.write_text('{"split": "val"}')
    with pytest.raises(ValueError, match=r'it lacks .*confusion_matrix'):
        read_record(path)
    path.write_text(json.dumps(record()))
    assert read_record(path) == record()


def test_every_measured_number_is_compared():
    assert differences(record(), record()) == []
    for key in MEASURED:
        (line,) = differences(record(), record(**{key: [1, 3]}))
        assert key in line
    assert differences(record(), record(top1=50.1)) == ['top1: 50.0 recorded, 50.1 now']


@pytest.mark.parametrize('classes', [3, 60])
def test_the_picture_is_drawn_for_few_and_for_many_classes(tmp_path, classes):
    names = [f'class {k}' for k in range(classes)]
    draw_confusion(torch.eye(classes).long().tolist(), tmp_path / 'c.png', names)
    assert (tmp_path / 'c.png').read_bytes()[:4] == b'\x89PNG'


def test_versions_name_what_computes():
    assert versions()['torch'].startswith(torch.__version__.partition('+')[0])
    assert {'mmaction2', 'mmengine', 'numpy', 'python', 'nextvid_mm'} <= set(versions())


def test_the_config_of_a_record_is_data_with_tuples_and_numbers_as_keys(tmp_path):
    text = "scale = (-1, 256)\nmodel = dict({1: 2}, kind='x')\n"
    config = config_of(record(config=text))
    assert config.scale == (-1, 256)
    assert config.model == {1: 2, 'kind': 'x'}
    evil = tmp_path / 'evil'
    with pytest.raises(ValueError, match=r'r\.json: its config, line 2, is code .*never run'):
        config_of(record(config=f"a = 1\nb = open({str(evil)!r}, 'w')\n"), 'r.json')
    with pytest.raises(ValueError, match='its config, line 1, is no config'):
        config_of(record(config='a = = 1'))
    with pytest.raises(ValueError, match='its config is no text but dict'):
        config_of(record(config={}))
    assert not evil.exists()


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp('probe')
    make_videos(root / 'data')
    encoder = save_encoder(root / 'encoder.pth')
    runner = train(root / 'data', root / 'run', **{'model.encoder': encoder})
    return root, runner


def test_the_record_says_everything(trained):
    root, runner = trained
    record = json.loads((root / 'run/probe_results.json').read_text())
    assert record['mode'] == 'online'
    assert record['split'] == 'val'
    assert record['num_samples'] == NUM_VAL
    assert record['encoder']['sha256'] == runner.model.origin.sha256
    assert record['encoder']['weights'] == 'reference'
    assert record['encoder']['step'] == 5
    assert record['seeds']['training'] == 0
    assert record['versions'] == versions()
    assert config_of(record).model.type == 'nextvid_mm.ProbeRecognizer'
    assert len(record['members']) == 4
    for member in record['members']:
        assert len(member['views']) == 3
        assert {'top1', 'top5'} == set(member['merged'])
    top1 = [member['merged']['top1'] for member in record['members']]
    assert record['top1'] == max(top1)
    assert record['grid']['top1']['mean'] == pytest.approx(sum(top1) / 4)
    assert len(record['per_class']) == CLASSES
    assert sum(map(sum, record['confusion_matrix'])) == NUM_VAL
    assert (root / 'run/confusion.png').stat().st_size > 1000


def test_the_best_probe_is_selected_and_saved(trained):
    root, runner = trained
    record = json.loads((root / 'run/probe_results.json').read_text())
    assert int(runner.model.cls_head.selected) == record['best_member']
    saved = torch.load(root / 'run/probe.pth', weights_only=True)
    assert int(saved['state_dict']['cls_head.selected']) == record['best_member']
    assert saved['meta'] == dict(mode='online', seed=0)


def test_learning_rates_follow_a_cosine_that_ends_after_the_last_step(trained):
    """Nine steps: the last is taken at 8/9 of the way to 0."""
    rates = [group['lr'] for group in trained[1].optim_wrapper.optimizer.param_groups]
    scale = 0.5 * (1 + math.cos(math.pi * 8 / 9))
    assert rates == pytest.approx([lr * scale for lr in (3e-3, 3e-3, 1e-3, 1e-3)])


def test_a_label_outside_the_classes_stops_the_run_before_it_starts(trained, tmp_path):
    root, _ = trained
    changes = {'model.encoder': str(root / 'encoder.pth'), 'model.cls_head.num_classes': 2}
    with pytest.raises(ValueError, match=r'train.txt, line 3: label 2 is none of .* 0 to 1'):
        train(root / 'data', tmp_path, **changes)


def test_weights_of_another_probe_are_refused(trained, tmp_path):
    root, _ = trained
    cfg = probe_run(root / 'data', tmp_path, **{'model.cls_head.lrs': [1e-3]})
    cfg.model.backbone = trained[1].model.backbone_config
    cfg.load_from = str(root / 'run/probe.pth')
    with pytest.raises(ValueError, match='other shape'):
        ToyRunner.from_cfg(cfg).test()


def test_class_names_are_read_from_a_file(tmp_path):
    (tmp_path / 'names.txt').write_text('left\nright\n')
    assert ProbeHook(str(tmp_path / 'names.txt')).class_names == ['left', 'right']
    with pytest.raises(FileNotFoundError, match=r'absent\.txt'):
        ProbeHook('absent.txt')
