"""Packing clips into tar files: stopped, gone on with, cut, encoded anew and looked at."""

import math
import os
import tarfile

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from permissions import as_ordinary_user

from nextvid_mm.datasets import packing
from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.list_index import ListedClip, open_list
from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.packing import Encoding, absolute_entries, encode, pack, verify
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.datasets.video.decoder import Decoder
from nextvid_mm.datasets.video.reader import VideoReader


def _pack(source, folder, root='', **settings):
    entries, _ = absolute_entries(source, root)
    settings = dict(per_shard=4, workers=0) | settings
    results = list(pack(entries, folder, **settings))
    index_shards([result.shard for result in results], folder / TABLE)
    return results


@pytest.fixture(scope='module')
def packed(tmp_path_factory, clip_folder):
    folder = tmp_path_factory.mktemp('packed')
    _pack(clip_folder / 'list.txt', folder, clip_folder)
    return folder


def test_files_are_packed_as_they_are(packed, clip_folder):
    assert sorted(path.name for path in packed.glob('*.tar')) == [
        f'shard-00000{n}.tar' for n in range(3)
    ]
    found = open_list(packed / TABLE, str(packed))
    assert found.labels.tolist() == [n % 3 for n in range(10)]
    for number, info in enumerate(found):
        first, size = info['part']
        archive = info['filename'].partition('::')[0]
        with open(archive, 'rb') as file:
            file.seek(first)
            assert file.read(size) == (clip_folder / f'{number}.mp4').read_bytes()
    assert list(verify(packed)) == []


def _mixture(ann_file, prefix):
    source = dict(
        name='clips',
        weight=1.0,
        dataset=dict(
            type='ClipListDataset',
            ann_file=str(ann_file),
            data_prefix=dict(video=str(prefix)),
            pipeline=[
                dict(type='VideoInit'),
                dict(type='SampleClipByTime', fps=4),
                dict(type='VideoDecode'),
                dict(type='mmaction.FormatShape', input_format='NCTHW'),
                dict(type='mmaction.PackActionInputs'),
            ],
        ),
    )
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        return MixtureDataset([source])


def test_training_reads_the_same_clips_from_tar_files(packed, clip_folder):
    files = _mixture(clip_folder / 'list.txt', clip_folder)
    shards = _mixture(packed / TABLE, packed)
    for position, index in enumerate((7, 0, 3)):
        request = ClipRequest(position, 0, index, 4, 1234 + position)
        one, other = files[request], shards[request]
        assert (one['inputs'] == other['inputs']).all()
        assert other['data_samples'].metainfo['path'].endswith(f'-{index % 4:05d}.mp4')
        assert not other['data_samples'].metainfo['replaced']


def test_a_run_that_was_stopped_goes_on(tmp_path, clip_folder, packed, monkeypatch):
    real, calls = packing._content, []

    def stop_in_the_second(entry, encoding):
        calls.append(entry)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(entry, encoding)

    monkeypatch.setattr(packing, '_content', stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        _pack(clip_folder / 'list.txt', tmp_path, clip_folder)
    assert [path.name for path in tmp_path.glob('*.tar*')] == ['shard-000000.tar']
    calls.clear()
    calls.extend([None] * 100)
    _pack(clip_folder / 'list.txt', tmp_path, clip_folder)
    assert len(calls) == 106  # the first tar file was left as it is
    for path in packed.glob('*.tar'):
        with tarfile.open(path) as one, tarfile.open(tmp_path / path.name) as other:
            assert one.getnames() == other.getnames()
    assert list(verify(tmp_path)) == []


def test_what_a_kill_left_half_written_is_cleared_and_nothing_else(tmp_path, clip_folder):
    left = ['shard-000000.tar.0a.tmp', 'shard-000001.bad.txt.0a.tmp', f'{TABLE}.0a.tmp']
    for name in (*left, f'{packing.SETTINGS}.0a.tmp', 'own.tmp'):
        (tmp_path / name).touch()
    _pack(clip_folder / 'list.txt', tmp_path, clip_folder)
    assert [path.name for path in tmp_path.glob('*.tmp')] == ['own.tmp']


def test_several_processes_pack_the_same(tmp_path, clip_folder, packed):
    _pack(clip_folder / 'list.txt', tmp_path, clip_folder, workers=2)
    assert (tmp_path / TABLE).read_text() == (packed / TABLE).read_text()


def test_another_packing_in_the_same_folder_is_refused(tmp_path, clip_folder):
    entries, _ = absolute_entries(clip_folder / 'list.txt', clip_folder)
    list(pack(entries[:4], tmp_path, 4, workers=0))
    with pytest.raises(ValueError, match=r'was packed otherwise(.|\n)*4 clips(.|\n)*10 clips'):
        list(pack(entries, tmp_path, 4, workers=0))
    relabelled = [*entries[:2], entries[2]._replace(label=7), entries[3]]
    with pytest.raises(ValueError, match='was packed otherwise'):
        list(pack(relabelled, tmp_path, 4, workers=0))
    (tmp_path / packing.SETTINGS).unlink()
    with pytest.raises(ValueError, match='has tar files of another origin'):
        list(pack(entries, tmp_path, 4, workers=0))


def test_a_new_signature_is_no_other_packing(tmp_path):
    signed = [ListedClip(f'https://a.b/{n}.mp4?X-Signature=1') for n in range(2)]
    packing._require_same(tmp_path, signed, 4, packing.Encoding())
    again = [clip._replace(path=clip.path[:-1] + '2') for clip in signed]
    packing._require_same(tmp_path, again, 4, packing.Encoding())
    again[1] = again[1]._replace(path='https://a.b/2.mp4?X-Signature=2')
    with pytest.raises(ValueError, match='was packed otherwise'):
        packing._require_same(tmp_path, again, 4, packing.Encoding())


def test_clips_that_cannot_be_read_are_left_out_and_listed(tmp_path, clip_folder):
    good = str(clip_folder / '1.mp4')
    entries = [ListedClip(path, -1, 1) for path in (good, str(tmp_path / 'gone.mp4'), good)]
    for _ in range(2):  # the second time, from what the first has left
        (result,) = pack(entries, tmp_path, 10, workers=0)
        ((path, reason),) = result.bad
        assert path == str(tmp_path / 'gone.mp4')
        assert 'FileNotFoundError' in reason
    assert index_shards([result.shard], tmp_path / TABLE) == 2


def _frames(data):
    with VideoReader(data) as reader:
        return [picture for _, picture in reader.every()], reader.rate


def test_a_closed_folder_is_listed_too(tmp_path, clip_folder):
    source = tmp_path / 'videos'
    (source / 'closed').mkdir(parents=True, mode=0o755)
    (source / '0.mp4').symlink_to(clip_folder / '0.mp4')
    (source / 'closed').chmod(0)
    with as_ordinary_user():
        (result,) = _pack(source, tmp_path / 'packed')
    ((path, reason),) = result.bad
    assert path.endswith('closed')
    assert 'PermissionError' in reason


def test_videos_are_encoded_anew(tmp_path, clip_folder):
    path = clip_folder / '2.mp4'
    before, rate = _frames(path.read_bytes())
    height, width = before[0].shape[:2]
    with open(path, 'rb') as file:
        after, new_rate = _frames(encode(file, Encoding(short_side=32, fps=rate / 2, gop=4)))
    assert new_rate == pytest.approx(rate / 2, rel=0.01)
    assert len(after) == math.ceil(len(before) / 2)
    assert min(after[0].shape[:2]) == 32 or min(height, width) < 32
    with open(path, 'rb') as file:
        part, _ = _frames(encode(file, Encoding(quality=1), 0.5, 1.5))
    first = round(0.5 * rate)
    assert len(part) == round(rate)
    off = [np.abs(a.astype(int) - b).mean() for a, b in zip(part, before[first:], strict=False)]
    assert max(off) < 6
    assert np.abs(part[0].astype(int) - before[0]).mean() > off[0]


def test_parts_of_a_video_become_clips(tmp_path, clip_folder):
    (tmp_path / 'list.csv').write_text('path,start,end,label\n3.mp4,0.5,1.5,2\n3.mp4,1,,5\n')
    _pack(tmp_path / 'list.csv', tmp_path / 'out', clip_folder)
    found = open_list(tmp_path / 'out' / TABLE)
    assert found.labels.tolist() == [2, 5]
    assert 'segment' not in found[0]


def test_a_part_behind_the_end_of_its_video_is_bad(tmp_path, clip_folder):
    parts = [(3.0, 4.0), (9.0, math.nan), (1.0, 2.0), (1.01, 1.02)]
    path = str(clip_folder / '3.mp4')  # lasts 3 s
    entries = [ListedClip(path, n, n, *part) for n, part in enumerate(parts)]
    (result,) = pack(entries, tmp_path, workers=0)
    assert [name for name, _ in result.bad] == [path] * 2
    assert result.bad[1][1] == 'ValueError: its part begins at 9 s, its end is at 3 s'
    assert index_shards([result.shard], tmp_path / TABLE) == 2
    assert list(verify(tmp_path)) == []
    assert open_list(tmp_path / TABLE).labels.tolist() == [2, 3]


def test_a_video_that_ends_before_its_header_says_gives_no_empty_clip(clip_folder, monkeypatch):
    monkeypatch.setattr(Decoder, 'end', lambda self: self.first.time + 3.9)
    with pytest.raises(ValueError, match=r'has no frame after 3\.5 s'):
        encode((clip_folder / '3.mp4').read_bytes(), Encoding(), 3.5)


def test_a_quality_alone_would_change_nothing(tmp_path, clip_folder):
    whole = ListedClip(str(clip_folder / '0.mp4'))
    with pytest.raises(ValueError, match=r'quality=35 \(--quality\) changes nothing.*--gop'):
        list(pack([whole], tmp_path / 'a', encoding=Encoding(quality=35), workers=0))
    assert not (tmp_path / 'a').exists()
    part = whole._replace(start=1.0)
    for entries, encoding in (([whole, part], {}), ([whole], dict(gop=4))):
        folder = tmp_path / f'b{len(entries)}'
        (result,) = pack(entries, folder, encoding=Encoding(quality=35, **encoding), workers=0)
        assert not result.bad


def test_names_that_are_no_text_are_packed_and_listed(tmp_path, clip_folder):
    source = tmp_path / 'videos'
    source.mkdir()
    for name, content in ((b'\xfe.mp4', (clip_folder / '0.mp4').read_bytes()), (b'\xff.mp4', b'')):
        (source / os.fsdecode(name)).write_bytes(content)
    (result,) = _pack(source, tmp_path / 'out', encoding=Encoding(gop=4))
    ((path, reason),) = result.bad
    assert path == f'{source}/\\udcff.mp4'
    assert 'Error' in reason
    assert len(open_list(tmp_path / 'out' / TABLE)) == 1


def test_faults_are_found(tmp_path, clip_folder):
    _pack(clip_folder / 'list.txt', tmp_path, clip_folder)
    table = tmp_path / TABLE
    lines = table.read_text().splitlines(keepends=True)
    table.write_text(''.join(lines[:2] + lines[3:]))
    assert list(verify(tmp_path)) == [('shard-000000.tar', f'1 clips are not in {TABLE}')]
    table.write_text(''.join(lines))
    shard = tmp_path / 'shard-000001.tar'
    data = bytearray(shard.read_bytes())
    part = open_list(table)[4]['part']
    data[part[0] : part[0] + part[1]] = bytes(part[1])
    shard.write_bytes(bytes(data))
    ((name, reason),) = verify(tmp_path)
    assert name == 'shard-000001.tar::000001-00000.mp4'
    assert 'Error' in reason


def test_wrong_values():
    with pytest.raises(ValueError, match='gop=0 must be larger than 0'):
        Encoding(gop=0)


def test_what_lies_in_tar_files_is_packed_again(tmp_path, clip_folder, packed):
    entries, _ = absolute_entries(packed / TABLE, packed)
    results = list(pack(entries, tmp_path, 5, workers=0))
    assert [result.bad for result in results] == [[], []]
    index_shards([result.shard for result in results], tmp_path / TABLE)
    assert open_list(tmp_path / TABLE).labels.tolist() == [n % 3 for n in range(10)]
    assert list(verify(tmp_path)) == []


def test_what_a_kill_has_left_is_put_away(tmp_path, clip_folder):
    (tmp_path / 'shard-000000.tar.0123abcd.tmp').write_bytes(b'half')
    (tmp_path / 'letter.tmp').touch()
    _pack(clip_folder / 'list.txt', tmp_path, clip_folder)
    assert [path.name for path in tmp_path.glob('*.tmp')] == ['letter.tmp'], 'of somebody else'


def test_a_video_is_encoded_alike_whatever_the_memory_held_before(clip_folder):
    encoded = set()
    for number in range(12):
        held = np.random.bytes(40_000 * (number + 1))
        del held
        with open(clip_folder / '2.mp4', 'rb') as file:
            encoded.add(encode(file, Encoding(short_side=32)))
    assert len(encoded) == 1
