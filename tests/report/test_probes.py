import json

import pytest
import torch
from tiny import build

from nextvid_mm.report.probes import find_probe, probes_section


def test_every_record_is_a_row_with_its_encoder_and_videos(write_record, tmp_path):
    first = write_record(tmp_path / 'a.json')
    untrained = dict(path=None, weights=None, sha256='12345678ab')
    second = write_record(tmp_path / 'b.json', encoder=untrained, top5=None, mode='online')
    accuracies, files = probes_section([first, second, tmp_path / '.' / 'a.json']).tables
    assert accuracies.rows == [
        ['work_dirs/run/iter_4.pth (reference)', 'data/mine/val.txt', 'cached', '1,200', '1',
         '50.0', '75.2', '48.0'],
        ['untrained (12345678)', 'data/mine/val.txt', 'online', '1,200', '1',
         '50.0', '–', '48.0'],
    ]  # fmt: skip
    assert all(len(row) == len(accuracies.header) for row in accuracies.rows)
    assert files.rows == [[str(first), 'lr 0.001'], [str(second), 'lr 0.001']]


def test_without_a_list_the_folder_of_the_videos_is_named(write_record, tmp_path):
    dataset = dict(dataset=dict(type='mmpretrain.ImageNet', data_root='data/imagenet'))
    config = f'test_dataloader = dict(dataset={dataset!r})\n'
    path = write_record(tmp_path / 'a.json', split='test', config=config, encoder=None)
    (row,) = probes_section([path]).tables[0].rows
    assert row[:2] == ['not recorded', 'data/imagenet']


def test_what_is_no_record_is_named(tmp_path):
    (tmp_path / 'a.json').write_text('{}')
    with pytest.raises(ValueError, match=r'a\.json is not a probe_results\.json'):
        probes_section([tmp_path / 'a.json'])
    with pytest.raises(FileNotFoundError, match=r'b\.json'):
        probes_section([tmp_path / 'b.json'])


def model_of(folder):
    model = build()
    model.load_state_dict(torch.load(folder / 'iter_4.pth', weights_only=True)['state_dict'])
    return model


def test_the_probe_of_a_model_is_the_best_that_fits(trained_dir, probe, trained_probe):
    (record, _), config = trained_probe, probe[0]
    worse = record.with_name('worse.json')
    worse.write_text(json.dumps(json.loads(record.read_text()) | dict(top1=10.0)))
    found = find_probe([worse, record], model_of(trained_dir), config)
    assert found[1:] == (87.5, record.with_name('probe.pth'))
    assert find_probe([record], build(), config) is None, 'of another encoder'
    other = config.copy()
    other.model.num_segments = 2
    assert find_probe([record], model_of(trained_dir), other) is None, 'of other videos'
    assert find_probe([], model_of(trained_dir), config) is None


def test_nothing_in_a_record_is_run(trained_dir, probe, trained_probe, tmp_path):
    (path, _), evil = trained_probe, tmp_path / 'evil'
    record, model = json.loads(path.read_text()), model_of(trained_dir)
    code = record | dict(config=record['config'] + f"x = open({str(evil)!r}, 'w')\n")
    path.write_text(json.dumps(code))
    for read in (lambda: probes_section([path]), lambda: find_probe([path], model, probe[0])):
        with pytest.raises(ValueError, match=r'probe_results\.json: its config, line 3, is code'):
            read()
    text = record['config'].replace("'mmaction.ActionDataPreprocessor'", "'builtins.open'")
    path.write_text(json.dumps(record | dict(config=text)))
    with pytest.raises(ValueError, match="type='builtins.open' in its config is no registered"):
        find_probe([path], model, probe[0])
    assert not evil.exists()
