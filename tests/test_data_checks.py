import pytest
from permissions import as_ordinary_user

from nextvid_mm.data_checks import (
    check_files,
    named_weights,
    one_line,
    path_of,
    require_data_of,
    require_loaders_data,
    require_paths,
)


def test_names_the_outermost_missing_folder_and_the_page(tmp_path):
    path = tmp_path / 'data' / 'kinetics400' / 'list.txt'
    with pytest.raises(FileNotFoundError) as error:
        require_paths("source 'k400'", ann_file=str(path))
    message = str(error.value)
    assert f'missing folder is {tmp_path / "data"}.' in message
    assert "source 'k400'" in message
    assert 'ann_file' in message
    assert 'docs/data.md' in message


def test_a_missing_list_in_an_existing_folder_is_called_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing file is .*list\.txt'):
        require_paths('x', ann_file=str(tmp_path / 'list.txt'))


def test_remote_and_empty_paths_are_not_looked_for():
    require_paths('x', a='s3://bucket/list.txt', b='https://host/a', c='')


def test_looks_at_every_path_of_a_dataset_config(tmp_path):
    (tmp_path / 'list.txt').touch()
    (tmp_path / 'videos').mkdir()
    config = dict(data_root=str(tmp_path), ann_file='list.txt', data_prefix=dict(video='videos'))
    require_data_of('x', config)
    require_data_of('x', {**config, 'data_prefix': 'videos'})
    require_data_of('x', {})
    with pytest.raises(FileNotFoundError, match='video='):
        require_data_of('x', {**config, 'data_prefix': dict(video='elsewhere')})
    with pytest.raises(FileNotFoundError, match='data_prefix='):
        require_data_of('x', {**config, 'data_prefix': 'elsewhere'})
    with pytest.raises(FileNotFoundError, match='data_root='):
        require_data_of('x', {**config, 'data_root': str(tmp_path / 'none')})


def test_missing_videos_are_reported_with_list_and_line(tmp_path):
    (tmp_path / 'a.mp4').touch()
    names = ['a.mp4', 'b.mp4', 'c.mp4']
    entries = [dict(filename=str(tmp_path / name)) for name in names]
    check_files(entries[:1], 'list.txt')
    with pytest.raises(FileNotFoundError) as error:
        check_files(entries, 'list.txt')
    message = str(error.value)
    assert 'list.txt, line 2' in message
    assert 'b.mp4' in message
    assert '2 files are missing' in message
    assert 'check_files=False' in message
    with pytest.raises(FileNotFoundError, match='line 17'):
        check_files([dict(filename='/none.mp4', line=17)], 'list.txt')


def test_path_of_knows_both_libraries():
    assert path_of(dict(filename='a')) == 'a'
    assert path_of(dict(img_path='b', gt_label=1)) == 'b'
    assert path_of(dict(keypoint=1)) == ''


def test_every_loader_and_every_source_with_a_weight_is_looked_at(tmp_path):
    there, gone = dict(data_root=str(tmp_path)), dict(data_root=str(tmp_path / 'gone'))
    sources = [dict(name='a', weight=1, dataset=there), dict(name='b', weight=0, dataset=gone)]
    config = dict(train_dataloader=dict(dataset=dict(sources=sources)), val_dataloader=None)
    require_loaders_data(config)
    sources[1]['weight'] = 0.5
    with pytest.raises(FileNotFoundError, match=r"train_dataloader, source 'b': data_root="):
        require_loaders_data(config)
    with pytest.raises(FileNotFoundError, match='test_dataloader: data_root='):
        require_loaders_data(dict(test_dataloader=dict(dataset=gone)))


def test_one_line_of_an_error_does_not_tell_the_time():
    noisy = RuntimeError('[09:32:15] /src/video_reader.cc:486: Error: no packet\nstack trace')
    assert one_line(noisy) == 'RuntimeError: Error: no packet'
    assert one_line(ValueError()) == 'ValueError: no message'
    assert len(one_line(OSError('x' * 999))) < 250


def test_one_line_of_an_error_can_be_written():
    assert one_line(ValueError('\udcff ü.mp4: no video')) == 'ValueError: \\udcff ü.mp4: no video'


def test_what_lies_in_a_closed_folder_is_not_called_missing(tmp_path):
    closed = tmp_path / 'closed'
    (closed / 'deep').mkdir(parents=True)
    (closed / 'deep' / 'list.txt').touch()
    path = str(closed / 'deep' / 'list.txt')
    closed.chmod(0)
    try:
        with as_ordinary_user():
            with pytest.raises(
                PermissionError, match=r"list.txt': no permission to enter \S+closed$"
            ):
                require_paths('x', ann_file=path)
            with pytest.raises(
                PermissionError, match=r'line 4: .* no permission to enter \S+closed$'
            ):
                check_files([dict(filename=path, line=4)], 'a.txt')
    finally:
        closed.chmod(0o755)


def test_weights_are_found_wherever_a_config_names_them(tmp_path):
    for name in 'abc':
        (tmp_path / name).touch()
    a, b, c = (str(tmp_path / name) for name in 'abc')
    config = dict(
        load_from=a,
        model=dict(encoder=b, backbone=dict(init_cfg=[dict(checkpoint=c)])),
        default_hooks=dict(checkpoint=dict(type='Hook')),
        other=dict(encoder=str(tmp_path / 'absent'), checkpoint=None, path=a),
    )
    assert list(named_weights(config)) == [a, b, c]
