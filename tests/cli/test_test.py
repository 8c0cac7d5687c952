"""tools/test.py: MMAction2's flags, every kind of checkpoint, and repeating an evaluation."""

import argparse
import json
import re
from pathlib import Path

import mmaction
import pytest
import torch
from mmengine import load
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from probe_run import NUM_VAL, make_videos, probe_run, save_encoder

from nextvid_mm.cli.test import add_flags as add_test_flags
from nextvid_mm.cli.test import load_test_config
from nextvid_mm.cli.test import run as run_test
from nextvid_mm.engine.probe.training import cache_features, fit_probe


def test_flags_are_mmaction2s(parse):
    import mmaction

    text = (Path(mmaction.__file__).parent / '.mim/tools/test.py').read_text()
    theirs = set(re.findall(r"'--([\w-]+)'", text))
    ours = vars(parse('test', 'config.py', 'probe.pth'))
    assert {name.replace('-', '_') for name in theirs} <= set(ours)
    assert len(theirs) >= 8


def test_the_folder_of_features_is_the_packages(parse):
    from nextvid_mm.engine.probe.features import DEFAULT_CACHE

    args = parse('test', 'config.py', 'a.pth', '--cache-features')
    assert args.cache_features == DEFAULT_CACHE


def test_mistakes_are_one_line(call, tmp_path):
    assert call('test').startswith('test: error: give CONFIG and CHECKPOINT')
    path = tmp_path / 'bad.py'
    path.write_text('test_dataloder = dict()\n')
    assert "Did you mean 'test_dataloader'" in call('test', path, 'probe.pth')


TOOLS = Path(mmaction.__file__).parent / '.mim/tools'


def parser():
    made = argparse.ArgumentParser()
    add_test_flags(made)
    return made


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos, an encoder, a config file for them, and a probe trained on the encoder."""
    path = tmp_path_factory.mktemp('cli')
    make_videos(path / 'data')
    save_encoder(path / 'encoder.pth')
    cfg = probe_run(path / 'data', path / 'unused')
    cfg.log_level = 'INFO'
    cfg.pop('work_dir')
    cfg.pop('experiment_name')
    (path / 'tiny.py').write_text(cfg.pretty_text)
    evaluate(path, 'tiny.py', 'encoder.pth', '--work-dir', 'online')
    return path


def evaluate(root, *arguments, options=()):
    flags = [str(root / a) if re.fullmatch(r'[\w/]+\.(py|pth|json|pkl)|online|cached|other', a)
             else a for a in arguments]  # fmt: skip
    name = f'call{len(list(root.rglob("*")))}'
    options = ['--cfg-options', f'experiment_name={name}', *options]
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        run_test(parser().parse_args([*flags, *options]))


def results(root, folder):
    return json.loads((root / folder / 'probe_results.json').read_text())


def test_the_whole_protocol_is_one_command(root):
    record = results(root, 'online')
    assert record['mode'] == 'online'
    assert record['num_samples'] == NUM_VAL
    assert record['encoder']['path'] == str(root / 'encoder.pth')
    assert (root / 'online/confusion.png').is_file()


def test_a_line_says_that_the_probe_is_trained_first(root):
    (log,) = (root / 'online').glob('*/*.log')
    line = (
        f'{root}/encoder.pth holds an encoder (reference, encoder) and no probe: its probe is '
        f'trained as {root}/tiny.py says, and then tested'
    )
    assert line in log.read_text()


def test_the_old_flag_is_accepted(root):
    arguments = ['tiny.py', 'online/probe.pth', '--train-probe', '--work-dir', 'other']
    evaluate(root, *arguments)
    assert results(root, 'other')['members'] == results(root, 'online')['members']


def test_a_trained_probe_is_evaluated_and_its_predictions_are_mmaction2s(root):
    """A dump is read by MMAction2's own metric and by ours: the same accuracies."""
    evaluate(root, 'tiny.py', 'online/probe.pth', '--work-dir', 'other', '--dump', 'dump.pkl')
    record = results(root, 'other')
    assert record['split'] == 'test'
    assert record['members'] == results(root, 'online')['members']
    predictions = load(root / 'dump.pkl')
    assert len(predictions) == NUM_VAL
    acc = dict(type='mmaction.AccMetric', metric_list=('top_k_accuracy',))
    acc['metric_options'] = dict(top_k_accuracy=dict(topk=(1,)))
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        theirs = Evaluator([acc]).offline_evaluate(predictions)
        ours = Evaluator([dict(type='ProbeMetric')]).offline_evaluate(predictions)
    assert theirs['acc/top1'] * 100 == pytest.approx(record['top1'])
    assert ours['probe/top1'] == record['top1']


@pytest.fixture(params=['{}.mp4', '{}.mp4 -1'])
def unlabelled(root, request):
    """The validation videos under a list without labels, the last of them damaged."""
    lines = [request.param.format(number) for number in range(NUM_VAL)]
    (root / 'data/val/broken.mp4').write_bytes(b'no video')
    lines[-1] = lines[-1].replace(f'{NUM_VAL - 1}.mp4', 'broken.mp4')
    path = root / 'data/unlabelled.txt'
    path.write_text('\n'.join(lines))
    inner = 'test_dataloader.dataset.dataset'
    return [f'{inner}.ann_file={path}', f'{inner}.type=ClipListDataset', f'{inner}.test_mode=True']


def test_data_without_labels_are_predicted_without_a_metric(root, unlabelled, tmp_path):
    arguments = ['tiny.py', 'online/probe.pth', '--dump', 'bare.pkl']
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    evaluate(root, *arguments, *work_dir, options=unlabelled)
    evaluate(root, 'tiny.py', 'online/probe.pth', '--work-dir', 'other', '--dump', 'dump.pkl')
    bare, labelled = load(root / 'bare.pkl'), load(root / 'dump.pkl')
    assert len(bare) == NUM_VAL
    for one, other in zip(bare[:-1], labelled[:-1], strict=True):
        assert torch.equal(one['pred_score'], other['pred_score'])
    assert [bool(sample.get('failure')) for sample in bare] == [False] * (NUM_VAL - 1) + [True]
    (log,) = (tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert 'unlabelled.txt: no sample has a label: predictions are written to' in text
    assert f'1 of {NUM_VAL} samples could not be decoded' in text
    assert not (tmp_path / 'run/probe_results.json').exists()


def test_data_without_labels_need_the_dump(root, unlabelled, tmp_path):
    with pytest.raises(ValueError, match=r'unlabelled\.txt: no sample has a label.*--dump'):
        evaluate(
            root, 'tiny.py', 'online/probe.pth', '--work-dir', str(tmp_path), options=unlabelled
        )


def test_an_evaluation_is_repeated_from_its_record_alone(root, caplog):
    evaluate(root, '--from-json', 'online/probe_results.json')
    repeated = results(root, 'online/repeated')
    assert repeated['members'] == results(root, 'online')['members']


def test_a_record_that_does_not_hold_is_an_error(root, tmp_path):
    record = results(root, 'online')
    record['top1'] += 1
    (tmp_path / 'r.json').write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r'not reproduced:\n  top1'):
        evaluate(tmp_path, '--from-json', 'r.json')


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ("x = open({evil!r}, 'w')", r'is code .*never run'),
        ("custom_hooks = [dict(type='builtins.open', file={evil!r}, mode='w')]", 'no registered'),
        ("visualizer = dict(type='pathlib.Path.touch', self={evil!r})", 'no registered component'),
        ("default_scope = 'antigravity'", 'no scope that is imported'),
    ],
)
def test_nothing_in_a_record_is_run(root, tmp_path, line, message):
    evil, record = tmp_path / 'evil', results(root, 'online')
    record['config'] += line.format(evil=str(evil)) + '\n'
    (tmp_path / 'r.json').write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path, '--from-json', 'r.json')
    assert not evil.exists()


def test_a_config_beside_a_record_brings_its_plugins(root, tmp_path, monkeypatch):
    """What a record names must be registered: CONFIG's own custom_imports do that."""
    (tmp_path / 'my_metrics.py').write_text(
        'from nextvid_mm.engine.probe import ProbeMetric\n'
        'from nextvid_mm.registry import METRICS\n'
        "METRICS.register_module(name='mine', module=type('Mine', (ProbeMetric,), {}))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = "custom_imports = dict(imports=['my_metrics'])\nmodel = dict(type='x')\n"
    (tmp_path / 'plugin.py').write_text(text)
    record = results(root, 'online')
    record['config'] += "val_evaluator = dict(type='mine', topk=(1, 5))\n"
    (tmp_path / 'r.json').write_text(json.dumps(record))
    evaluate(tmp_path, 'plugin.py', '--from-json', 'r.json')
    assert results(tmp_path, 'repeated')['members'] == record['members']


def test_cached_features_are_labelled_and_repeatable(root):
    arguments = ['tiny.py', 'encoder.pth', '--work-dir', 'cached']
    evaluate(root, *arguments, '--cache-features', str(root / 'cached_features'))
    record = results(root, 'cached')
    assert record['mode'] == 'cached features'
    assert record['num_samples'] == NUM_VAL
    first = torch.load(root / 'cached/probe.pth', weights_only=True)
    (tokens,) = (root / 'cached_features').rglob('tokens.bin')
    written = tokens.stat().st_mtime_ns
    evaluate(root, *arguments, '--cache-features', str(root / 'cached_features'))
    assert tokens.stat().st_mtime_ns == written
    assert results(root, 'cached')['head_sha256'] == record['head_sha256']
    assert first['meta']['mode'] == 'cached features'
    evaluate(root, '--from-json', 'cached/probe_results.json')


def test_a_file_without_encoder_says_what_it_holds(root):
    torch.save(dict(state_dict={'fc.weight': torch.zeros(1)}), root / 'foreign.pth')
    with pytest.raises(ValueError, match=r"neither a probe .* nor an encoder .* \['fc'\]"):
        evaluate(root, 'tiny.py', 'foreign.pth')


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (['tiny.py'], ValueError, 'give CONFIG and CHECKPOINT'),
        (['tiny.py', 'absent.pth'], FileNotFoundError, r'absent\.pth: there is no such'),
        (['absent.py', 'encoder.pth'], FileNotFoundError, r'absent\.py does not exist'),
        (['tiny.py', 'online/probe.pth', '--cache-features'], ValueError, 'trained probe already'),
        (['tiny.py', 'x.pth', '--from-json', 'r.json'], ValueError, 'takes the checkpoint from'),
        (['--from-json', 'r.json', '--dump', 'x.pkl'], ValueError, 'leave out --dump'),
        (['--from-json', 'r.json', '--show'], ValueError, 'leave out --show'),
        (['--from-json', 'r.json', '--show-dir', 'x'], ValueError, 'leave out --show-dir'),
        (['--from-json', 'r.json', '--cache-features'], ValueError, 'leave out --cache-features'),
        (['tiny.py', 'encoder.pth', '--dump', 'x.txt'], ValueError, r'must end with \.pkl'),
        (['--from-json', 'absent.json'], FileNotFoundError, r'absent\.json'),
    ],
)
def test_mistakes_are_named(root, arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate(root, *arguments)


def test_probes_are_fitted_from_a_program(root, tmp_path):
    """As the demo and the ablations do it; the config stays as it was."""
    cfg = probe_run(root / 'data', tmp_path, **{'train_cfg.max_epochs': 1})
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        first, again, other = (
            fit_probe(
                cfg, root / 'encoder.pth', tmp_path / name, seed, root / 'features',
                encoder_weights='untrained',
            )
            for name, seed in (('a', 1), ('b', 1), ('c', 2))
        )  # fmt: skip
    assert first['mode'] == 'cached features'
    assert first['encoder']['path'] is None
    assert first['head_sha256'] == again['head_sha256'] != other['head_sha256']
    assert first['encoder']['sha256'] != other['encoder']['sha256']
    assert 'features' not in cfg.train_cfg
    assert cfg.model.encoder is None


def test_features_are_cached_for_probe_configs_only(root):
    cfg = Config(dict(train_cfg=dict(type='StageTrainLoop')))
    with pytest.raises(ValueError, match=r'is for probe configs.*StageTrainLoop'):
        cache_features(cfg, 'x')


def test_a_config_without_test_data_points_to_the_probes(tmp_path):
    (tmp_path / 'c.py').write_text('model = dict()\n')
    args = parser().parse_args([str(tmp_path / 'c.py'), 'x.pth'])
    with pytest.raises(ValueError, match='no test_dataloader.*configs/probe/'):
        load_test_config(args)
