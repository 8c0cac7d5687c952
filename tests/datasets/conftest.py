"""Tiny videos and images, written once per session, and pipelines that read them."""

import copy
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import CORRUPTIONS, SIZE, write_corrupt
from clips import write_clip as _write_clip
from mmengine.registry import DefaultScope


@pytest.fixture(scope='session')
def write_clip():
    """The function that writes a clip."""
    return _write_clip


@pytest.fixture(scope='session')
def clip_folder(tmp_path_factory):
    """Ten readable clips, clip 0 to 9, and their list file."""
    folder = tmp_path_factory.mktemp('clips')
    for number in range(10):
        _write_clip(folder / f'{number}.mp4')
    (folder / 'list.txt').write_text(''.join(f'{n}.mp4 {n % 3}\n' for n in range(10)))
    return folder


@pytest.fixture(scope='session')
def image_folder(tmp_path_factory):
    """Four images in two class folders; the first channel in RGB order is the strongest."""
    folder = tmp_path_factory.mktemp('images')
    for number in range(4):
        path = folder / f'class{number % 2}' / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((40, 48, 3), (10, 20, 30 + number), dtype=np.uint8))
    return folder


@pytest.fixture(scope='session')
def corrupt_folder(tmp_path_factory, clip_folder):
    """One unreadable file of every kind, by the kind's name."""
    folder = tmp_path_factory.mktemp('corrupt')
    good = Path(clip_folder, '0.mp4').read_bytes()
    # Root can read what is forbidden.
    kinds = [kind for kind in CORRUPTIONS if kind != 'forbidden' or os.geteuid() != 0]
    for kind in kinds:
        write_corrupt(folder / f'{kind}.mp4', kind, good)
    (folder / 'folder.mp4').mkdir()
    names = sorted({path.name for path in folder.iterdir()} | {'missing.mp4'})
    (folder / 'list.txt').write_text('\n'.join(names))
    return folder


@pytest.fixture(autouse=True)
def default_scope(global_state):
    """What a config's ``default_scope`` does."""
    DefaultScope.get_instance('tests', scope_name='nextvid_mm')


def _video_pipeline(**sampling):
    """Read, crop and pack; the crop makes every sample random."""
    return [
        dict(type='VideoInit'),
        dict(type='SampleClipByTime', **(sampling or dict(frame_interval=1))),
        dict(type='VideoDecode'),
        dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0)),
        dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False),
        dict(type='mmaction.Flip', flip_ratio=0.5),
    ]


IMAGE_PIPELINE = [
    dict(type='LoadPicture'),
    dict(type='ImageToClip'),
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0)),
    dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False),
    dict(type='RepeatFrames'),
]

COMMON_PIPELINE = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='FrameIsolatedMasking', patch_size=8),
    dict(
        type='mmaction.PackActionInputs',
        algorithm_keys=('masks',),
        meta_keys=('img_shape', 'static'),
    ),
]


@pytest.fixture
def clips_config(clip_folder):
    """Config of the ten clips as an MMAction2 dataset."""
    return dict(
        type='mmaction.VideoDataset',
        ann_file='list.txt',
        data_root=str(clip_folder),
        data_prefix=dict(video=''),
        pipeline=_video_pipeline(),
    )


@pytest.fixture
def corrupt_config(corrupt_folder):
    """Config of the unreadable files as a dataset."""
    return dict(
        type='ClipListDataset',
        ann_file='list.txt',
        data_root=str(corrupt_folder),
        check_files=False,
        pipeline=_video_pipeline(),
    )


@pytest.fixture
def mixture_config(clips_config, image_folder):
    """Config of a mixture of clips (3/4) and images (1/4)."""
    images = dict(
        type='mmpretrain.CustomDataset',
        data_prefix=str(image_folder),
        pipeline=IMAGE_PIPELINE,
    )
    return dict(
        type='MixtureDataset',
        sources=[
            dict(name='clips', weight=0.75, dataset=clips_config),
            dict(name='images', weight=0.25, dataset=images),
        ],
        pipeline=copy.deepcopy(COMMON_PIPELINE),
    )
