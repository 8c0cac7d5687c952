"""Clips behind an address, on real and on faulty servers: read in parts, right, or replaced."""

import http.client
import threading
import time

import av
import numpy as np
import pytest
from caching import write_media
from mmengine.registry import DefaultScope
from range_server import serve

from benchmarks.servers import web_server
from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.packing import absolute_entries, pack
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.storage import Storage, StorageError

SECONDS = 1800


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Seven clips, the same in tar files of three, and a long video whose index is at its end."""
    folder = write_media(tmp_path_factory.mktemp('media'), videos=7)
    entries, _ = absolute_entries(folder / 'clips', '')
    packed = list(pack(entries, folder, 3, workers=0))
    index_shards([one.shard for one in packed], folder / TABLE)
    (folder / 'clips.txt').write_text(''.join(f'clips/{n}.mp4\n' for n in range(7)))
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 255, (16, 64, 96, 3), dtype=np.uint8)
    with av.open(str(folder / 'long.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        stream.options = {'g': '10', 'preset': 'ultrafast', 'crf': '18'}
        for number in range(SECONDS):
            shown = np.roll(noise[number % 16], number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format='rgb24')))
        container.mux(stream.encode())
    (folder / 'long.csv').write_text('path,start,end\nlong.mp4,900,912\n')
    return folder


def mixture(listed, prefix, **storage):
    """Clips of a list in an order without chance, and no others for those that fail."""
    steps = [
        dict(type='VideoInit', storage=dict(block_kilobytes=4) | storage),
        dict(type='SampleClipByTime', frame_interval=1, num_frames=8, test_mode=True),
        dict(type='VideoDecode'),
    ]
    common = [
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(type='mmaction.PackActionInputs'),
    ]
    dataset = dict(
        type='ClipListDataset', ann_file=str(listed), data_prefix=dict(video=str(prefix)),
        pipeline=steps, storage=storage,
    )  # fmt: skip
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        return MixtureDataset([dict(name='clips', weight=1.0, dataset=dataset)], common)


def read(dataset, index, position=0):
    return dataset[ClipRequest(position, 0, index, 8, seed=position)]


def pixels(dataset):
    return [read(dataset, n)['inputs'] for n in range(len(dataset))]


# -- nginx ------------------------------------------------------------------------------------


@pytest.fixture
def nginx(folder, tmp_path):
    """Address, and a function that says status and bytes of the answers so far."""
    pytest.importorskip('aiohttp')
    with web_server(folder, tmp_path / 'access') as address:
        if address is None:
            pytest.skip('nginx is not installed')

        def answers():
            # Lines are written after the answers, in their order: one of another kind is the last.
            connection = http.client.HTTPConnection(address.removeprefix('http://'))
            connection.request('GET', '/absent')
            assert connection.getresponse().status == 404
            connection.close()
            lines = []
            while not lines or lines[-1][0] != 404:
                time.sleep(0.01)
                text = (tmp_path / 'access').read_text().splitlines()
                lines = [tuple(map(int, line.split())) for line in text]
            (tmp_path / 'access').write_text('')
            return lines[:-1]

        yield address, answers


def test_of_a_long_video_the_index_and_the_wanted_frames_are_fetched(folder, nginx):
    address, answers = nginx
    dataset = mixture(f'{address}/long.csv', address, block_kilobytes=64)
    answers()
    clip = read(dataset, 0)
    found, size = answers(), (folder / 'long.mp4').stat().st_size
    assert size > 5_000_000
    assert {status for status, sent in found if sent} == {206}
    assert sum(sent for _, sent in found) < 0.1 * size
    local = read(mixture(folder / 'long.csv', folder), 0)
    assert (clip['inputs'] == local['inputs']).all()
    assert clip['data_samples'].metainfo['seconds'] == (902.0, 909.0)


def test_of_a_tar_file_the_clip_is_fetched_in_one_request(folder, nginx):
    address, answers = nginx
    dataset = mixture(f'{address}/{TABLE}', address, block_kilobytes=256)
    answers()
    read(dataset, 4)
    ranges = [sent for status, sent in answers() if status == 206]
    part = dataset.sources[0].dataset.get_data_info(4)['part']
    assert ranges == [part[1] + 512]
    read(dataset, 3)
    assert len(answers()) == 1, 'size and ETag of the tar file are known'
    for ours, theirs in zip(pixels(dataset), pixels(mixture(folder / 'clips.txt', folder)),
                            strict=True):  # fmt: skip
        assert (ours == theirs).all()


# -- faults -----------------------------------------------------------------------------------


@pytest.fixture
def web(folder):
    pytest.importorskip('aiohttp')
    with serve(folder) as (address, faults):
        yield address, faults


def test_any_faults_give_the_right_clip_or_another(folder, web):
    """503s, answers that are cut or whole, at random: right after patience, and never a mixture."""
    address, faults = web
    right = pixels(mixture(folder / TABLE, folder))
    dataset = mixture(f'{address}/{TABLE}', address, patience=0.5)
    draw = np.random.default_rng(0)
    replaced = 0
    for position in range(40):
        kind = draw.choice(['fail', 'short', 'whole'])
        setattr(faults, kind, int(draw.choice([1, 2, 5, 6])))
        sample = read(dataset, position % 7, position)
        faults.fail = faults.short = faults.whole = 0
        info = sample['data_samples'].metainfo
        index = int(info['path'][-14:-10]) * 3 + int(info['path'][-9:-4])
        assert (sample['inputs'] == right[index]).all()
        if info['replaced']:
            replaced += 1
            assert 'not fetched' in info['replaced'][0][1]
        else:
            assert index == position % 7
        if replaced and position > 12:
            break
    assert replaced


def test_a_server_that_is_gone_for_a_while(folder):
    pytest.importorskip('aiohttp')
    with serve(folder) as (address, _):
        file = Storage(block_kilobytes=4, patience=20).open(f'{address}/long.mp4')
        assert file.read(4) == (folder / 'long.mp4').read_bytes()[:4]
        port = int(address.rpartition(':')[2])
    with pytest.raises(StorageError, match=r'long.mp4: not fetched in 0 s'):
        Storage(patience=0.2).open(f'{address}/long.mp4')
    back = threading.Event()

    def come_back():
        time.sleep(1.0)
        with serve(folder, port):
            back.wait(30)

    thread = threading.Thread(target=come_back)
    thread.start()
    file.seek(100_000)
    found = file.read(8)
    back.set()
    thread.join()
    assert found == (folder / 'long.mp4').read_bytes()[100_000:100_008]


def test_all_clips_gone_is_a_clear_error(web):
    address, faults = web
    dataset = mixture(f'{address}/clips.txt', address, patience=0.1)
    faults.fail = 10_000
    with pytest.raises(RuntimeError, match=r'none of 7 samples could be read(.|\n)*not fetched'):
        read(dataset, 0)


def test_of_a_tar_file_that_is_cut_off_what_is_there_is_read(folder, tmp_path):
    pytest.importorskip('aiohttp')
    for path in (*folder.glob('*.tar'), folder / TABLE):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / 'shard-000000.tar'
    right = pixels(mixture(folder / TABLE, folder))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with serve(tmp_path) as (address, _):
        for place in (address, tmp_path):
            dataset = mixture(tmp_path / TABLE, place)
            whole, cut = read(dataset, 0), read(dataset, 2)
            assert (whole['inputs'] == right[0]).all()
            ((path, reason),) = cut['data_samples'].metainfo['replaced'][:1]
            assert path.endswith('shard-000000.tar::000000-00002.mp4')
            assert 'that its index tells' in reason


def test_a_tar_file_that_is_exchanged_between_two_clips(folder, tmp_path):
    pytest.importorskip('aiohttp')
    for path in (*folder.glob('*.tar'), folder / TABLE):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    right = pixels(mixture(folder / TABLE, folder))
    first, second = tmp_path / 'shard-000000.tar', tmp_path / 'shard-000001.tar'
    with serve(tmp_path) as (address, _):
        dataset = mixture(tmp_path / TABLE, address)
        assert (read(dataset, 0)['inputs'] == right[0]).all()
        first.write_bytes(second.read_bytes())
        reasons = []
        for position in range(2):
            sample = read(dataset, 1, position)
            reasons.append(sample['data_samples'].metainfo['replaced'][0][1])
    assert 'was replaced while it was read' in reasons[0]
    assert 'index it again' in reasons[1]
