import json
import math

import pytest
import torch
from probe_run import CLASSES, NUM_VAL, make_videos, probe_run, save_encoder, train
from toy_training import ToyRunner

from nextvid_mm.engine.probe import ProbeHook
from nextvid_mm.engine.probe.results import config_of, versions


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
    assert config_of(record).model.type == 'ProbeRecognizer'
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
