"""Clips in tar files: indexed, read from their middle, and told apart from what they are not."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from range_server import serve

from nextvid_mm.datasets.clip_shards import TABLE, index_shards, open_member, read_members
from nextvid_mm.datasets.list_index import open_list
from nextvid_mm.datasets.transforms.decode import VideoDecode, VideoInit
from nextvid_mm.datasets.transforms.sampling import SampleClipByTime
from nextvid_mm.datasets.video.pictures import LoadPicture
from nextvid_mm.datasets.video_lists import ClipListDataset
from nextvid_mm.storage import Storage

LONG = 'a folder with a long name ' * 6


def _add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _picture():
    file = io.BytesIO()
    Image.new('RGB', (20, 16), (200, 10, 10)).save(file, 'PNG')
    return file.getvalue()


@pytest.fixture(scope='module')
def shards(tmp_path_factory, clip_folder):
    """Two tar files as others make them: labels beside, names of any length."""
    folder = tmp_path_factory.mktemp('shards')
    clips = [(clip_folder / f'{n}.mp4').read_bytes() for n in range(4)]
    with tarfile.open(folder / '0.tar', 'w') as tar:
        _add(tar, '__index__/info.bin', b'of no interest')
        _add(tar, 'a/0.mp4', clips[0])
        _add(tar, 'a/0.cls', b'3')
        _add(tar, 'a/1.MP4', clips[1])
        _add(tar, 'a/1.json', json.dumps(dict(label=4, caption='four')).encode())
    with tarfile.open(folder / '1.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
        _add(tar, f'{LONG}/é.mp4', clips[2])
        _add(tar, f'{LONG}/é.txt', b'a caption')
        _add(tar, '3.mp4', clips[3])
        _add(tar, '4.png', _picture())
        _add(tar, '4.txt', b'7')
    index_shards([folder / '0.tar', folder / '1.tar'], folder / TABLE)
    return folder


def _clip(info, **settings):
    info = VideoInit(**settings)(dict(info))
    sampled = SampleClipByTime(frame_interval=2, num_frames=4, test_mode=True)(info)
    return np.stack(VideoDecode()(sampled)['imgs'])


def _alone(path):
    return _clip(dict(filename=str(path)))


def test_clips_of_tar_files_are_those_of_files(shards, clip_folder):
    dataset = ClipListDataset(str(shards / TABLE), data_prefix=dict(video=str(shards)), pipeline=[])
    assert len(dataset) == 5
    infos = [dataset.get_data_info(n) for n in range(5)]
    assert [info['label'] for info in infos] == [3, 4, -1, -1, 7]
    assert infos[0]['filename'] == f'{shards}/0.tar::a/0.mp4'
    assert infos[2]['filename'] == f'{shards}/1.tar::{LONG}/é.mp4'
    for number in range(4):
        np.testing.assert_array_equal(_clip(infos[number]), _alone(clip_folder / f'{number}.mp4'))
    assert LoadPicture()(infos[4])['img'][0, 0].tolist() == [10, 10, 200]


def test_behind_an_address_only_the_clip_is_fetched(shards, clip_folder):
    pytest.importorskip('aiohttp')
    with serve(shards) as (address, faults):
        found = open_list(f'{address}/{TABLE}', address)
        before = faults.bytes
        storage = dict(block_kilobytes=4)
        np.testing.assert_array_equal(
            _clip(found[1], storage=storage), _alone(clip_folder / '1.mp4')
        )
        size = found[1]['part'][1]
        assert faults.bytes - before <= size + 512


def test_an_index_of_another_tar_file_is_noticed(shards, tmp_path):
    found = open_list(shards / TABLE, str(tmp_path))
    (tmp_path / '0.tar').write_bytes((shards / '1.tar').read_bytes() * 2)
    info = found[1]
    with pytest.raises(ValueError, match=r'0.tar holds no file of \d+ bytes at \d+'):
        open_member(Storage(), info['filename'], info['part'])
    (tmp_path / '0.tar').write_bytes(b'short')
    with pytest.raises(OSError, match=r'0.tar has 5 bytes, not the'):
        open_member(Storage(), info['filename'], info['part'])


@pytest.mark.parametrize('kind', ['gz', 'xz', 'bz2'])
def test_a_compressed_tar_file_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / 'a.tar', f'w:{kind}') as tar:
        _add(tar, 'a.mp4', b'x')
    with pytest.raises(ValueError, match=r'a.tar is compressed \(.*\): unpack it'):
        list(read_members(tmp_path / 'a.tar'))


def test_files_that_are_no_tar_files(shards, tmp_path):
    (tmp_path / 'a.tar').write_bytes(b'no tar file' * 100)
    with pytest.raises(ValueError, match='a.tar is no complete tar file'):
        list(read_members(tmp_path / 'a.tar'))
    whole = (shards / '0.tar').read_bytes()
    (tmp_path / 'b.tar').write_bytes(whole[: 2048 + 700])
    with pytest.raises(ValueError, match=r'b.tar is no complete tar file: .*middle|unexpected'):
        list(read_members(tmp_path / 'b.tar'))
    with tarfile.open(tmp_path / 'c.tar', 'w') as tar:
        _add(tar, 'a.txt', b'nothing but text')
    with pytest.raises(ValueError, match=r'hold no video and no picture'):
        index_shards([tmp_path / 'c.tar'], tmp_path / TABLE)
    assert not (tmp_path / TABLE).exists()


def test_labels_by_another_key_or_by_name(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        _add(tar, '0.json', json.dumps(dict(sport='judo')).encode())
        _add(tar, '0.mp4', b'x')
        _add(tar, '1.cls', b'skiing')
        _add(tar, '1.mp4', b'y')
    classes = dict(judo=0, skiing=1)
    found = read_members(tmp_path / 'a.tar', label_key='sport', classes=classes)
    assert [member.label for member in found] == [0, 1]
    with pytest.raises(ValueError, match=r"1.cls: the label 'skiing' is no whole number"):
        list(read_members(tmp_path / 'a.tar'))
    with pytest.raises(ValueError, match=r"0.json has no key 'song'"):
        list(read_members(tmp_path / 'a.tar', label_key='song', classes=classes))
    with pytest.raises(ValueError, match=r"the label 'judo' .*the classes are skiing"):
        list(read_members(tmp_path / 'a.tar', label_key='sport', classes=dict(skiing=1)))
