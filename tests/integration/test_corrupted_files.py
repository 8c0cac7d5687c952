"""A run over 200 files of which 40 are broken in ten ways ends normally and lists all 40."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from clips import CORRUPTIONS, write_clip, write_corrupt
from permissions import as_ordinary_user
from toy_training import config, make_runner

CUT = [
    dict(type='mmaction.Resize', scale=(tiny.SIZE, tiny.SIZE), keep_ratio=False),
    dict(type='mmaction.Flip', flip_ratio=0.5),
]
VIDEO = [
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', fps=4),
    dict(type='VideoDecode'),
    *CUT,
]
IMAGE = [
    dict(type='LoadPicture'),
    dict(type='ImageToClip'),
    *CUT,
    dict(type='RepeatFrames'),
]
PACK = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(
        type='FrameIsolatedMasking',
        patch_size=tiny.PATCH,
        strategies=[dict(num_blocks=1, scale=0.4)],
    ),
    dict(
        type='mmaction.PackActionInputs',
        algorithm_keys=('masks',),
        meta_keys=('img_shape', 'static', 'sample_seed'),
    ),
]
# 256 positions are one block of the mixture's order: 204 of them are videos, all 200 at least once.
STAGES = [
    dict(name='short', steps=12, lr=1e-4, tau_samples=1, num_frames=4, batch_size=16),
    dict(name='long', steps=4, lr=1e-4, tau_samples=1, num_frames=8, batch_size=16),
]


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """The folder with its list, and the 40 paths that cannot be read."""
    folder = tmp_path_factory.mktemp('videos')
    good = Path(write_clip(folder / '0.mp4')).read_bytes()
    bad = set()
    for number in range(200):
        path = folder / f'{number}.mp4'
        if number % 5:
            path.write_bytes(good)
            continue
        path.unlink(missing_ok=True)
        write_corrupt(path, CORRUPTIONS[number // 5 % len(CORRUPTIONS)], good)
        bad.add(str(path))
    (folder / 'list.txt').write_text(''.join(f'{number}.mp4\n' for number in range(200)))
    return folder, bad


def _settings(folder, images):
    source = dict(
        type='ClipListDataset',
        ann_file=str(folder / 'list.txt'),
        data_prefix=dict(video=str(folder)),
        check_files=False,
        pipeline=VIDEO,
    )
    stills = dict(type='mmpretrain.CustomDataset', data_prefix=str(images), pipeline=IMAGE)
    return {
        'model': tiny.CONFIG | dict(data_preprocessor=tiny.PREPROCESSOR),
        'train_dataloader': dict(
            num_workers=2,
            collate_fn=dict(type='nextvid_mm.collate_clips'),
            dataset=dict(
                type='MixtureDataset',
                sources=[
                    dict(name='videos', weight=99, dataset=source),
                    dict(name='images', weight=1, dataset=stills),
                ],
                pipeline=PACK,
            ),
        ),
        'custom_hooks': [*config('').custom_hooks, dict(type='FaultHook')],
    }


def test_a_run_with_forty_broken_files(videos, tmp_path):
    folder, bad = videos
    (tmp_path / 'images' / 'a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'images' / 'a' / '0.png'), np.zeros((20, 20, 3), np.uint8))
    runner = make_runner(tmp_path, STAGES, **_settings(folder, tmp_path / 'images'))
    with as_ordinary_user():  # inherited by the loader's workers
        runner.train()
    assert runner.iter == 16
    assert runner.optim_wrapper.skipped_steps == 0
    lines = (tmp_path / 'replaced_samples.txt').read_text().splitlines()
    listed = dict(line.split('\t') for line in lines)
    assert len(bad) == 40
    assert set(listed) == bad
    assert all(listed.values())
