"""Trained from tar files, on a disk or in a bucket: the same clips, the same resume, bit for bit.

The true Runner with the tiny NextVid; loader and S3 server have processes of their own.
"""

import hashlib
import json

import pytest
import torch
from caching import write_media
from processes import run
from tiny import PATCH, SIZE
from tiny_training import STAGES, settings
from toy_training import KillHook, RecordHook, read_records, train

from benchmarks.servers import bucket
from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.packing import absolute_entries, pack

LAST = 'iter_6.pth'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Nine clips, packed into tar files of four, and the table."""
    folder = write_media(tmp_path_factory.mktemp('media'), videos=9)
    entries, _ = absolute_entries(folder / 'clips', '')
    packed = list(pack(entries, folder / 'packed', 4, workers=0))
    index_shards([one.shard for one in packed], folder / 'packed' / TABLE)
    return folder


@pytest.fixture(scope='module')
def places(folder):
    """List, prefix and storage of the same clips as files, in tar files, and in a bucket."""
    pytest.importorskip('s3fs')
    pytest.importorskip('moto')
    names = sorted(path.name for path in (folder / 'clips').iterdir())
    (folder / 'clips.txt').write_text('\n'.join(names))
    with bucket(folder / 'packed') as options:
        yield dict(
            files=(folder / 'clips.txt', folder / 'clips', {}),
            shards=(folder / 'packed' / TABLE, folder / 'packed', {}),
            s3=(f's3://bucket/{TABLE}', 's3://bucket', options | dict(block_kilobytes=4)),
        )


class ClipsHook(RecordHook):
    """Notes every clip that a process trains with."""

    def __init__(self, path):
        super().__init__(path)

    def before_train_iter(self, *args, **kwargs):
        pass

    def after_train_iter(self, *args, **kwargs):
        pass

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(f'{self.file}/clips.rank{runner.rank}.jsonl', 'a') as file:
            for clip in data_batch['data_samples'].info:
                found = {key: clip[key] for key in ('position', 'sample_seed', 'path', 'seconds')}
                assert not clip['replaced'], clip['replaced']
                file.write(json.dumps(found | dict(step=runner.iter)) + '\n')


def clips_of(path):
    """Clips by position; one that was read twice was the same both times."""
    found = {}
    for file in path.glob('clips.rank*.jsonl'):
        for line in file.read_text().splitlines():
            clip = json.loads(line)
            assert found.setdefault(clip['position'], clip) == clip
    return found


def _train(path, place, *hooks, world_size=1, resume=False):
    listed, prefix, storage = place
    pipeline = [
        dict(type='VideoInit', storage=dict(storage)),
        dict(type='SampleClipByTime', fps=8),
        dict(type='VideoDecode'),
        dict(type='mmaction.RandomResizedCrop', area_range=(0.5, 1.0)),
        dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False),
    ]
    source = dict(
        type='ClipListDataset', ann_file=str(listed), data_prefix=dict(video=str(prefix)),
        pipeline=pipeline, storage=dict(storage),
    )  # fmt: skip
    pack_steps = [
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(type='FrameIsolatedMasking', patch_size=PATCH,
             strategies=[dict(num_blocks=1, scale=0.4)]),
        dict(type='mmaction.PackActionInputs', algorithm_keys=('masks',),
             meta_keys=('img_shape', 'static')),
    ]  # fmt: skip
    dataset = dict(
        type='MixtureDataset', sources=[dict(name='clips', weight=1.0, dataset=source)],
        pipeline=pack_steps,
    )  # fmt: skip
    changes = {'train_dataloader.dataset': dict(dataset), 'train_dataloader.num_workers': 1}
    launcher = 'pytorch' if world_size > 1 else 'none'
    made = settings(**changes) | dict(launcher=launcher, resume=resume)
    train(path, ClipsHook(path), *hooks, stages=STAGES, **made)


def _resume(path, place, *hooks, world_size=1):
    _train(path, place, *hooks, world_size=world_size, resume=True)


def weights(path):
    """A digest of all weights and of the optimiser's state."""
    digest = hashlib.sha256()
    saved = torch.load(path / LAST, weights_only=True)
    states = [saved['state_dict'], *saved['optimizer']['state'].values()]
    for state in states:
        for name, value in state.items():
            digest.update(str(name).encode() + value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope='module')
def whole(places, tmp_path_factory):
    """The run that nobody disturbs, from single files."""
    path = tmp_path_factory.mktemp('whole')
    assert run(_train, path, places['files']) == [0]
    return path


@pytest.mark.parametrize('place', ['shards', 's3'])
def test_killed_and_resumed_bit_for_bit(tmp_path, places, whole, place):
    for kill, step in enumerate((1, 4)):
        start = _resume if kill else _train
        assert run(start, tmp_path, places[place], KillHook(step)) == [9]
    assert not (tmp_path / LAST).exists()
    assert run(_resume, tmp_path, places[place]) == [0]
    assert read_records(tmp_path / 'records.jsonl') == read_records(whole / 'records.jsonl')
    assert weights(tmp_path) == weights(whole)
    ours, theirs = clips_of(tmp_path), clips_of(whole)
    assert {p: c['seconds'] for p, c in ours.items()} == {
        p: c['seconds'] for p, c in theirs.items()
    }
    assert len({clip['path'] for clip in ours.values()}) > 4
    for position, clip in ours.items():
        assert '.tar::' in clip['path']
        number = int(clip['path'][-14:-10]) * 4 + int(clip['path'][-9:-4])
        assert theirs[position]['path'].endswith(f'/{number}.mp4')


def test_the_number_of_processes_changes_between_runs(tmp_path, places, whole):
    """One process, then two, then four; every position is the clip that one process sees there."""
    place = places['shards']
    assert run(_train, tmp_path, place, KillHook(1)) == [9]
    assert run(_step_2, tmp_path, place, world_size=2)[0] == 9
    assert run(_step_4, tmp_path, place, world_size=4) == [0] * 4
    ours, theirs = clips_of(tmp_path), clips_of(whole)
    for found in (ours, theirs):
        for clip in found.values():
            clip['path'] = None
    assert ours == theirs
    assert len(list(tmp_path.glob('clips.rank*.jsonl'))) == 4


def _step_2(path, place):
    _resume(path, place, KillHook(3), world_size=2)


def _step_4(path, place):
    _resume(path, place, world_size=4)
