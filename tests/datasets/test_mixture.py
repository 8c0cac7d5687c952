import multiprocessing
import os
import pickle
import random
import signal
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.datasets import (
    ClipRequest,
    ClipSampler,
    MixtureDataset,
    StageBatchSampler,
    collate_clips,
)
from nextvid_mm.datasets.mixture import Breadcrumbs
from nextvid_mm.registry import DATASETS


class Step(BaseTransform):
    """Calls a function on the results, in the middle of a pipeline."""

    def __init__(self, function):
        self.function = function

    def transform(self, results):
        return self.function(results)


@pytest.fixture
def mixture(mixture_config):
    return DATASETS.build(mixture_config)


def request_for(source=0, index=0, seed=11, position=0, num_frames=8):
    return ClipRequest(position, source, index, num_frames, seed)


def load(dataset, plan, rank=0, world_size=1, num_workers=0):
    """All samples of a plan by position: (pixels, masks, path)."""
    sampler = StageBatchSampler(
        ClipSampler(dataset, seed=3), plan, rank=rank, world_size=world_size
    )
    loader = DataLoader(
        dataset, batch_sampler=sampler, num_workers=num_workers, collate_fn=collate_clips
    )
    found = {}
    for batch in loader:
        data = batch['data_samples']
        for row, (clip, info) in enumerate(zip(batch['inputs'], data.info, strict=True)):
            masks = [
                dict(visible=mask.visible[row], hidden=mask.queried[row]) for mask in data.masks
            ]
            found[info['position']] = (clip, masks, info['path'])
    return found


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for position, (clip, masks, path) in first.items():
        other_clip, other_masks, other_path = second[position]
        assert path == other_path
        assert torch.equal(clip, other_clip)
        for ours, theirs in zip(masks, other_masks, strict=True):
            assert torch.equal(ours['visible'], theirs['visible'])


def test_a_video_sample(mixture):
    result = mixture[request_for()]
    assert result['inputs'].shape == (1, 3, 8, 32, 32)
    assert result['inputs'].dtype == torch.uint8
    sample = result['data_samples']
    assert sample.static is False
    assert sample.source == 'clips'
    assert sample.path.endswith('0.mp4')
    assert (sample.position, sample.sample_seed, sample.replaced) == (0, 11, [])
    assert [mask['visible'].numel() + mask['hidden'].numel() for mask in sample.masks] == [16, 16]
    # The clips get brighter frame by frame.
    levels = result['inputs'].float().mean(dim=(0, 1, 3, 4))
    assert (levels[1:] > levels[:-1]).all()


def test_an_image_sample_is_a_static_clip_in_rgb(mixture):
    result = mixture[request_for(source=1, index=2)]
    clip = result['inputs']
    assert clip.shape == (1, 3, 8, 32, 32)
    assert (clip == clip[:, :, :1]).all()
    assert clip[0, :, 0, 0, 0].tolist()[1:] == [20, 10]
    assert clip[0, 0, 0, 0, 0] >= 30
    assert result['data_samples'].static is True


def test_number_of_frames_travels_with_the_request(mixture):
    for source in (0, 1):
        for frames in (2, 6):
            clip = mixture[request_for(source=source, num_frames=frames)]['inputs']
            assert clip.shape[2] == frames


def test_samples_do_not_depend_on_workers_or_world_size(mixture):
    plan = [(2, 8, 2, 4), (1, 8, 4, 8)]
    alone = load(mixture, plan)
    assert len(alone) == 24
    assert_equal(load(mixture, plan, num_workers=2), alone)
    together = load(mixture, plan, rank=0, world_size=2)
    together |= load(mixture, plan, rank=1, world_size=2)
    assert_equal(together, alone)


def test_loading_leaves_no_trace_and_takes_none(mixture):
    first = mixture[request_for()]['inputs']
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    again = mixture[request_for()]['inputs']
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert torch.equal(first, again)
    others = [mixture[request_for(seed=seed)]['inputs'] for seed in range(12, 16)]
    assert not all(torch.equal(first, other) for other in others)  # one may pick the same frames


def test_every_kind_of_corrupt_file_is_replaced_and_reported(
    clips_config, corrupt_config, mixture_config
):
    sources = [dict(name='mixed', weight=1, dataset=corrupt_config)]
    dataset = DATASETS.build({**mixture_config, 'sources': sources})
    good = DATASETS.build(clips_config)
    # Append the ten good clips: item n of the source is corrupt for small n.
    source = dataset.sources[0].dataset
    corrupt = len(source)
    entries = [source.get_data_info(n) for n in range(corrupt)]
    entries += [good.get_data_info(n) for n in range(len(good))]
    source.serialize_data, source.data_list = False, entries
    kinds = {Path(entry['filename']).stem for entry in entries[:corrupt]}
    assert len(kinds) >= 10
    for index in range(corrupt):
        sample = dataset[request_for(index=index)]['data_samples']
        path, reason = sample.replaced[0]
        assert path == entries[index]['filename']
        assert ': ' in reason
        assert '\n' not in reason
        assert sample.path not in {failed for failed, _ in sample.replaced}
        assert sample.path in {entry['filename'] for entry in entries[corrupt:]}
    again = dataset[request_for(index=0)]['data_samples']
    assert again.path == dataset[request_for(index=0)]['data_samples'].path


def test_reasons_name_what_is_wrong(corrupt_config, mixture_config):
    sources = [dict(name='bad', weight=1, dataset=corrupt_config)]
    dataset = DATASETS.build({**mixture_config, 'sources': sources})
    infos = [dataset.sources[0].dataset.get_data_info(n) for n in range(dataset.lengths[0])]
    missing = next(n for n, info in enumerate(infos) if 'missing' in info['filename'])
    with pytest.raises(RuntimeError) as error:
        dataset[request_for(index=missing)]
    message = str(error.value)
    assert "source 'bad' of the mixture: none of" in message
    assert 'missing.mp4: FileNotFoundError' in message


def test_a_source_without_readable_file_is_named_also_by_workers(corrupt_config, mixture_config):
    sources = [dict(name='bad', weight=1, dataset=corrupt_config)]
    dataset = DATASETS.build({**mixture_config, 'sources': sources, 'max_refetch': 3})
    with pytest.raises(RuntimeError, match="source 'bad' of the mixture: none of 4 samples"):
        load(dataset, [(1, 1, 1, 8)], num_workers=1)


def test_replacements_are_distinct_and_bounded(clips_config, mixture_config):
    tried = []

    def refuse(results):
        tried.append(results['filename'])

    clips_config['pipeline'] = [Step(refuse)]
    sources = [dict(name='clips', weight=1, dataset=clips_config)]
    dataset = DATASETS.build({**mixture_config, 'sources': sources})
    with pytest.raises(RuntimeError, match='the pipeline returned None'):
        dataset[request_for(index=4)]
    assert len(tried) == len(set(tried)) == 10
    assert tried[0].endswith('4.mp4')
    dataset.max_refetch = 0
    with pytest.raises(RuntimeError, match='none of 1 samples'):
        dataset[request_for()]


def test_errors_of_the_common_pipeline_are_not_taken_for_bad_files(mixture_config):
    mixture_config['pipeline'][1] = dict(type='FrameIsolatedMasking', patch_size=7)
    with pytest.raises(ValueError, match='patch_size=7'):
        DATASETS.build(mixture_config)[request_for()]
    mixture_config['pipeline'] = []
    with pytest.raises(ValueError, match=r'end without `data_samples`.*PackActionInputs'):
        DATASETS.build(mixture_config)[request_for()]


def test_running_out_of_memory_is_not_taken_for_a_bad_file(clips_config, mixture_config):
    def exhaust(results):
        raise MemoryError

    clips_config['pipeline'] = [Step(exhaust)]
    sources = [dict(name='clips', weight=1, dataset=clips_config)]
    with pytest.raises(MemoryError):
        DATASETS.build({**mixture_config, 'sources': sources})[request_for()]


def test_current_file_is_known_while_it_is_read(clips_config, mixture_config):
    seen = []
    clips_config['pipeline'].insert(
        0, Step(lambda results: seen.append(dataset.current_files()) or results)
    )
    sources = [dict(name='clips', weight=1, dataset=clips_config)]
    dataset = DATASETS.build({**mixture_config, 'sources': sources})
    dataset[request_for(index=2)]
    assert [path[-5:] for path in seen[0].values()] == ['2.mp4']
    assert dataset.current_files() == {}


def test_describes_itself(mixture):
    assert mixture.metainfo == dict(
        sources=['clips', 'images'], weights=[0.75, 0.25], lengths=[10, 4]
    )
    assert len(mixture) == 14


def test_a_source_without_weight_needs_no_data(mixture_config, tmp_path):
    off = mixture_config['sources'][0]
    off['dataset']['data_root'] = str(tmp_path / 'gone')
    off['weight'] = 0
    dataset = DATASETS.build(mixture_config)
    assert dataset.lengths == [0, 4]
    assert dataset.static == [False, True]
    found = load(dataset, [(2, 4, 4, 8)])
    assert {Path(path).suffix for _, _, path in found.values()} == {'.png'}


def test_absent_data_names_source_folder_and_page(mixture_config, tmp_path):
    root = tmp_path / 'data' / 'kinetics400'
    mixture_config['sources'][0]['dataset']['data_root'] = str(root)
    with pytest.raises(FileNotFoundError) as error:
        DATASETS.build(mixture_config)
    message = str(error.value)
    assert "source 'clips' of the mixture" in message
    assert f'missing folder is {tmp_path / "data"}.' in message
    assert 'docs/data.md' in message


def test_data_sets_that_check_for_themselves_get_the_source_named(mixture_config, tmp_path):
    folder = dict(type='VideoFolder', folder=str(tmp_path), pipeline=[])
    sources = [dict(name='own', weight=1, dataset=folder)]
    with pytest.raises(FileNotFoundError, match="source 'own' of the mixture: .* holds no video"):
        DATASETS.build({**mixture_config, 'sources': sources})


def test_missing_videos_of_any_data_set_are_found_on_request(mixture_config, clip_folder, tmp_path):
    listed = tmp_path / 'list.txt'
    listed.write_text('0.mp4 1\ngone.mp4 1\n')
    source = mixture_config['sources'][0]
    source['dataset'].update(ann_file=str(listed), data_prefix=dict(video=str(clip_folder)))
    assert len(DATASETS.build(mixture_config)) == 6
    source['check_files'] = True
    with pytest.raises(FileNotFoundError, match=r'list\.txt, line 2: the file .*gone\.mp4'):
        DATASETS.build(mixture_config)


def test_a_line_that_a_source_cannot_read_is_shown_with_the_way_out(clips_config, tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4\nmy clip.mp4\n')
    clips_config.update(data_root=str(tmp_path))
    source = dict(name='clips', weight=1.0, dataset=clips_config)
    with pytest.raises(ValueError, match=r"list\.txt, line 2: 'my clip\.mp4'.*ClipListDataset"):
        MixtureDataset([source])


def test_refuses_bad_configs(mixture_config, mixture):
    with pytest.raises(ValueError, match='sources is empty'):
        MixtureDataset(sources=[])
    with pytest.raises(ValueError, match='max_refetch=-1'):
        MixtureDataset(sources=[1], max_refetch=-1)
    source = mixture_config['sources'][0]
    with pytest.raises(ValueError, match=r"source 'clips'.*missing keys \['weight'\]"):
        MixtureDataset([dict(name='clips', dataset=source['dataset'])])
    with pytest.raises(ValueError, match=r"unknown keys \['wieght'\]"):
        MixtureDataset([dict(**source, wieght=1)])
    with pytest.raises(TypeError, match='BaseDataset, found list'):
        MixtureDataset([dict(name='x', weight=1, dataset=[1])])
    with pytest.raises(TypeError, match='StageBatchSampler'):
        mixture[0]


class Fragile(Dataset):
    """Its worker is killed while it reads item 5."""

    def __init__(self):
        self.breadcrumbs = Breadcrumbs()

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.breadcrumbs.note(f'/videos/ü{index}.mp4')
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        self.breadcrumbs.note('')
        return index


def test_note_is_there_until_it_is_picked_up():
    breadcrumbs = Breadcrumbs()
    assert breadcrumbs.read() == {}
    breadcrumbs.note('/a.mp4')
    ((pid, (path, seconds)),) = breadcrumbs.read().items()
    assert (pid, path) == (os.getpid(), '/a.mp4')
    assert 0 <= seconds < 60
    breadcrumbs.note('')
    assert breadcrumbs.read() == {}


def test_long_paths_keep_their_end():
    breadcrumbs = Breadcrumbs(slots=2, width=64)
    breadcrumbs.note('/' + 'x' * 100 + '/clip.mp4')
    assert breadcrumbs.read()[os.getpid()][0].endswith('x/clip.mp4')


def lose_a_worker(answers):
    """Load until a worker is killed; torch reports that by a signal, hence a process of its own."""
    dataset = Fragile()
    try:
        # Plain numbers: a tensor's file descriptor could not be fetched from a dead worker.
        list(DataLoader(dataset, num_workers=2, batch_size=1, collate_fn=list))
    except RuntimeError as error:
        answers.put((str(error), dataset.breadcrumbs.read()))


def test_a_killed_worker_leaves_its_file():
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    process = context.Process(target=lose_a_worker, args=(answers,))
    process.start()
    message, notes = answers.get(timeout=60)
    process.join()
    ((pid, (path, _)),) = notes.items()
    assert path == '/videos/ü5.mp4'
    assert f'pid(s) {pid}' in message or f'pid {pid}' in message


def test_notes_reach_processes_that_share_nothing_else():
    breadcrumbs = Breadcrumbs()
    copy = pickle.loads(ForkingPickler.dumps(breadcrumbs))
    copy.note('/a.mp4')
    assert [path for path, _ in breadcrumbs.read().values()] == ['/a.mp4']
