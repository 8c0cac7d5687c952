import os
from types import SimpleNamespace

import decord
import numpy as np
import pytest
from mmaction.datasets.transforms import DecordDecode, DecordInit

from nextvid_mm.datasets.transforms import decode
from nextvid_mm.datasets.transforms.decode import CachedDecordInit, FrameReader
from nextvid_mm.registry import TRANSFORMS

FRAMES = np.array([3, 4, 9, 23, 23, 0])


def read(init, path, frames=FRAMES):
    results = init(dict(filename=str(path)))
    results['frame_inds'] = frames
    return DecordDecode()(results)


@pytest.fixture
def clip(clip_folder):
    return clip_folder / '0.mp4'


@pytest.fixture
def cached(tmp_path):
    return CachedDecordInit(cache_dir=str(tmp_path / 'cache'))


def entries(cached):
    return sorted(path for path in cached.cache_dir.rglob('*') if path.is_file())


def assert_same(ours, theirs):
    assert (np.array(ours['imgs']) == np.array(theirs['imgs'])).all()
    assert ours['imgs'][0].dtype == np.uint8
    for key in ('total_frames', 'avg_fps', 'original_shape', 'img_shape'):
        assert ours[key] == theirs[key]


def test_without_cache_it_is_mmaction_s(clip):
    assert_same(read(CachedDecordInit(), clip), read(DecordInit(), clip))


def test_cached_frames_are_the_same_bytes(cached, clip):
    reference = read(DecordInit(), clip)
    for _ in range(2):
        assert_same(read(cached, clip), reference)
        assert len(entries(cached)) == 1


def test_cached_timestamps_are_the_file_s(cached, clip):
    cached(dict(filename=str(clip)))
    reader = cached(dict(filename=str(clip)))['video_reader']
    expected = decord.VideoReader(str(clip)).get_frame_timestamp(range(24))
    assert np.allclose(reader.get_frame_timestamp(np.arange(24)), expected)


def test_second_time_the_video_is_not_opened(cached, clip, monkeypatch):
    read(cached, clip)
    monkeypatch.setitem(decode.BACKENDS, 'decord', None)
    read(cached, clip)


def test_changing_a_frame_in_place_does_not_change_the_cache(cached, clip):
    read(cached, clip)
    for frame in read(cached, clip)['imgs']:
        frame[:] = 0
    assert_same(read(cached, clip), read(DecordInit(), clip))


def test_a_changed_video_gets_a_new_entry(cached, write_clip, tmp_path):
    path = tmp_path / 'a.mp4'
    write_clip(path, num_frames=24)
    read(cached, path)
    write_clip(path, num_frames=30)
    os.utime(path, ns=(1, 1))
    assert read(cached, path)['total_frames'] == 30
    assert len(entries(cached)) == 2


def test_a_damaged_entry_is_written_anew(cached, clip):
    read(cached, clip)
    (entry,) = entries(cached)
    whole = entry.read_bytes()
    for damaged in (b'', whole[:-1], b'x' + whole[1:]):
        entry.write_bytes(damaged)
        assert_same(read(cached, clip), read(DecordInit(), clip))
        assert entry.read_bytes() == whole


def test_large_videos_are_not_cached(clip, tmp_path):
    # 24 frames of 32×32×3 bytes are 0.07 MB.
    init = CachedDecordInit(cache_dir=str(tmp_path), max_clip_megabytes=0.05)
    assert_same(read(init, clip), read(DecordInit(), clip))
    assert entries(init) == []


def test_a_full_disk_does_not_stop_reading(cached, clip, monkeypatch):
    monkeypatch.setattr(decode.shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    assert_same(read(cached, clip), read(DecordInit(), clip))
    assert entries(cached) == []


def test_no_temporary_file_is_left(cached, clip, monkeypatch):
    def fail(*args):
        raise OSError('no space left')

    monkeypatch.setattr(decode.os, 'replace', fail)
    assert_same(read(cached, clip), read(DecordInit(), clip))
    assert entries(cached) == []


def test_missing_files_are_named(cached, tmp_path):
    for init in (cached, CachedDecordInit()):
        with pytest.raises(FileNotFoundError, match='gone'):
            init(dict(filename=str(tmp_path / 'gone.mp4')))


def test_what_is_no_video_stays_out_of_the_message(tmp_path, capfd):
    (tmp_path / 'a.mp4').write_text('secret text\n' * 50)
    with pytest.raises(RuntimeError, match=r'a\.mp4'):
        CachedDecordInit()(dict(filename=str(tmp_path / 'a.mp4')))
    assert 'secret' not in ''.join(capfd.readouterr())


def test_cache_is_for_local_files():
    with pytest.raises(ValueError, match="io_backend='disk', found 'petrel'"):
        CachedDecordInit(cache_dir='x', io_backend='petrel')


def test_is_registered(default_scope):
    assert isinstance(TRANSFORMS.build(dict(type='CachedDecordInit')), DecordInit)


def test_reader_offers_what_decord_does(clip):
    theirs = decord.VideoReader(str(clip))
    ours = FrameReader(np.zeros((24, 2, 2, 3), np.uint8), np.zeros((24, 2)), 8.0)
    assert len(ours) == len(theirs)
    assert ours.get_avg_fps() == theirs.get_avg_fps()
    assert ours.get_batch([1, 2]).asnumpy().shape == (2, 2, 2, 3)


def test_a_backend_has_entries_of_its_own(clip, tmp_path):
    for backend in ('decord', 'pyav'):
        init = CachedDecordInit(cache_dir=str(tmp_path), backend=backend)
        reader = init.transform(dict(filename=str(clip)))['video_reader']
        assert reader.get_batch([0, 5]).asnumpy().shape == (2, 32, 32, 3)
    assert len(list(tmp_path.rglob('*.frames'))) == 2


def test_other_backends_are_for_local_files():
    with pytest.raises(ValueError, match="backend='pyav' need io_backend='disk', found 'petrel'"):
        CachedDecordInit(io_backend='petrel', backend='pyav')
