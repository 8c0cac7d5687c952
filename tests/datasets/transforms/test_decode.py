import importlib.util
import os
from types import SimpleNamespace

import numpy as np
import pytest
from clips import write_clip

from nextvid_mm.datasets.transforms import decode
from nextvid_mm.datasets.transforms.decode import CachedVideo, VideoDecode, VideoInit
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.registry import TRANSFORMS

TIMES = np.array([0.4, 0.5, 1.2, 2.9, 9.0, 0.0])
FRAMES = [3, 4, 10, 23, 23, 0]


def read(init, path, times=TIMES):
    results = init(dict(filename=str(path)))
    results['frame_times'] = times
    return VideoDecode()(results)


def levels(results):
    """Which frame of a clip each frame is, by its grey level."""
    return [round(float(frame.mean()) / 4) for frame in results['imgs']]


@pytest.fixture
def clip(clip_folder):
    return clip_folder / '0.mp4'


@pytest.fixture
def cached(tmp_path):
    return VideoInit(cache_dir=str(tmp_path / 'cache'))


def entries(cached):
    return sorted(path for path in cached.cache_dir.rglob('*') if path.is_file())


def assert_same(ours, theirs):
    assert (np.array(ours['imgs']) == np.array(theirs['imgs'])).all()
    assert ours['imgs'][0].dtype == np.uint8
    for key in ('total_frames', 'avg_fps', 'original_shape', 'img_shape', 'modality'):
        assert ours[key] == theirs[key]
    assert ours['frame_times'] == pytest.approx(theirs['frame_times'])


def test_frames_are_the_nearest_and_their_times_their_own(clip):
    results = read(VideoInit(), clip)
    assert levels(results) == FRAMES
    assert results['frame_times'] == pytest.approx(np.array(FRAMES) / 8)
    assert (results['total_frames'], results['avg_fps']) == (24, 8)
    assert results['img_shape'] == results['original_shape'] == (32, 32)
    assert 'video_reader' not in results, 'the file is closed'


def test_mmaction2_s_samplers_give_numbers_of_frames(clip):
    results = VideoInit()(dict(filename=str(clip), start_index=0))
    sampler = dict(type='mmaction.SampleFrames', clip_len=4, frame_interval=3, test_mode=True)
    results = VideoDecode()(TRANSFORMS.build(sampler)(results))
    assert np.diff(levels(results)).tolist() == [3, 3, 3]


def test_cached_frames_are_the_same_bytes(cached, clip):
    reference = read(VideoInit(), clip)
    for _ in range(2):
        assert_same(read(cached, clip), reference)
        assert len(entries(cached)) == 1


def test_cached_frames_are_the_same_where_a_file_counts_milliseconds(cached, tmp_path):
    """Frames at 33, 67, 100 ms: those halfway between two are told apart with the same slack."""
    frames = (np.full((16, 16, 3), 4 * number, np.uint8) for number in range(30))
    encode_video(tmp_path / 'a.mkv', frames, 30, 'matroska')
    halfway = np.arange(1, 55, 2) / 60
    reference = read(VideoInit(), tmp_path / 'a.mkv', halfway)
    for _ in range(2):
        assert_same(read(cached, tmp_path / 'a.mkv', halfway), reference)


def test_second_time_the_video_is_not_opened(cached, clip, monkeypatch):
    read(cached, clip)
    monkeypatch.setattr(decode, 'open_video', None)
    read(cached, clip)


def test_changing_a_frame_in_place_does_not_change_the_cache(cached, clip):
    read(cached, clip)
    for frame in read(cached, clip)['imgs']:
        frame[:] = 0
    assert_same(read(cached, clip), read(VideoInit(), clip))


def test_a_changed_video_gets_a_new_entry(cached, tmp_path):
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
        assert_same(read(cached, clip), read(VideoInit(), clip))
        assert entry.read_bytes() == whole


def test_large_videos_are_not_cached(clip, tmp_path):
    # 24 frames of 32×32×3 bytes are 0.07 MB.
    init = VideoInit(cache_dir=str(tmp_path), max_clip_megabytes=0.05)
    assert_same(read(init, clip), read(VideoInit(), clip))
    assert entries(init) == []


def test_a_full_disk_does_not_stop_reading(cached, clip, monkeypatch):
    monkeypatch.setattr(decode.shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    assert_same(read(cached, clip), read(VideoInit(), clip))
    assert entries(cached) == []


def test_no_temporary_file_is_left(cached, clip, monkeypatch):
    def fail(*args):
        raise OSError('no space left')

    monkeypatch.setattr(os, 'replace', fail)
    assert_same(read(cached, clip), read(VideoInit(), clip))
    assert entries(cached) == []


def test_missing_files_are_named(cached, tmp_path):
    for init in (cached, VideoInit()):
        with pytest.raises(FileNotFoundError, match='gone'):
            init(dict(filename=str(tmp_path / 'gone.mp4')))


def test_what_is_no_video_stays_out_of_the_message(tmp_path, capfd):
    (tmp_path / 'a.mp4').write_text('secret text\n' * 50)
    with pytest.raises(ValueError, match=r'a\.mp4') as error:
        VideoInit()(dict(filename=str(tmp_path / 'a.mp4')))
    assert 'secret' not in ''.join(capfd.readouterr()) + str(error.value)


def test_files_from_elsewhere(clip, monkeypatch):
    address = f'file://{clip}'
    for init in (VideoInit(), VideoInit(storage=dict(block_kilobytes=1)), VideoInit(cache_dir='x')):
        assert_same(read(init, address), read(VideoInit(), clip))
    monkeypatch.setattr(decode, 'check_backend', lambda name: None)  # also where it is not there
    with pytest.raises(
        ValueError, match=r"backend='decord' of VideoInit reads files on a disk only"
    ):
        VideoInit(backend='decord')(dict(filename=address))


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend='opencv' is not one of pyav, decord, torchcodec"):
        VideoInit(backend='opencv')


@pytest.mark.parametrize('backend', ['decord', 'torchcodec'])
@pytest.mark.parametrize('key', [dict(stream=0), dict(stream=1), dict(num_threads=2)])
def test_what_a_backend_would_not_honour_is_refused(monkeypatch, backend, key):
    monkeypatch.setattr(decode, 'check_backend', lambda name: None)  # also where it is not there
    ((name, value),) = key.items()
    with pytest.raises(ValueError, match=f"{name}={value} of VideoInit is for .*'{backend}'"):
        VideoInit(backend=backend, **key)
    VideoInit(backend=backend)
    VideoInit(**key)


def test_the_limit_of_the_dataset_comes_before_its_own(clip):
    with pytest.raises(TimeoutError, match=r'0\.mp4'):
        VideoInit()(dict(filename=str(clip), deadline=0.0))


def test_a_cached_video_knows_its_rate():
    video = CachedVideo(np.zeros((24, 2, 2, 3), np.uint8), np.arange(24) / 8, 8.0, 3.0, 1e-4)
    assert len(video) == 24
    assert video.frames_at([1.0]).times.tolist() == [1.0]


@pytest.mark.skipif(importlib.util.find_spec('decord') is None, reason='decord is not installed')
def test_a_backend_has_entries_of_its_own(clip, tmp_path):
    for backend in ('decord', 'pyav'):
        init = VideoInit(cache_dir=str(tmp_path), backend=backend)
        for _ in range(2):
            assert levels(read(init, clip)) == FRAMES
    assert len(list(tmp_path.rglob('*.frames'))) == 2
