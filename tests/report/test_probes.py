import pytest

from nextvid_mm.report.probes import probes_section


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
