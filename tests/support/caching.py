"""A pretraining config over tiny clips whose pipelines give fixed clips."""

import cv2
import numpy as np
from mmengine.config import Config
from tiny import CONFIG, PATCH, PREPROCESSOR, SIZE

from nextvid_mm.datasets.video_writer import encode_video


def fixed_config(clips, images, flip=True, workers=0):
    """Videos in the folder ``clips``, images in ``images``; ``tiny``'s model over pixels."""
    resize = dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False)
    flips = [dict(type='mmaction.Flip', flip_ratio=0.5)] if flip else []
    video = [
        dict(type='VideoInit'),
        dict(type='SampleClipByTime', fps=8, test_mode=True),
        dict(type='VideoDecode'),
        resize,
        *flips,
    ]
    image = [
        dict(type='LoadPicture'),
        dict(type='ImageToClip'),
        resize,
        dict(type='RepeatFrames'),
    ]
    pack = [
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(
            type='FrameIsolatedMasking', patch_size=PATCH,
            strategies=[dict(num_blocks=1, scale=0.4)],
        ),
        dict(
            type='mmaction.PackActionInputs', algorithm_keys=('masks',),
            meta_keys=('img_shape', 'static', 'sample_seed', 'flip'),
        ),
    ]  # fmt: skip
    sources = [
        dict(
            name='videos', weight=0.75,
            dataset=dict(type='VideoFolder', folder=str(clips), pipeline=video),
        ),
        dict(
            name='images', weight=0.25,
            dataset=dict(
                type='mmpretrain.CustomDataset', data_root=str(images), with_label=False,
                pipeline=image,
            ),
        ),
    ]  # fmt: skip
    stage = dict(name='only', steps=2, lr=(1e-3, 1e-3), tau_samples=1, num_frames=8,
                 batch_size=4, ema_momentum=0.9)  # fmt: skip
    return Config(
        dict(
            model=dict(CONFIG, data_preprocessor=PREPROCESSOR),
            train_dataloader=dict(
                num_workers=workers,
                dataset=dict(type='MixtureDataset', sources=sources, pipeline=pack),
            ),
            train_cfg=dict(type='StageTrainLoop', stages=[stage]),
        )
    )


def masked_config(folder):
    """Media in ``folder``, and the config over them with two masks and three tau samples."""
    write_media(folder)
    config = fixed_config(folder / 'clips', folder / 'images')
    config.train_dataloader.dataset.pipeline[1].strategies = [
        dict(num_blocks=3, scale=0.15),
        dict(num_blocks=1, scale=0.4),
    ]
    config.train_cfg.stages[0].update(tau_samples=3)
    return config


def write_media(folder, videos=5, images=3):
    """Textured clips of 16 frames at 8 fps in ``clips``, pictures in ``images``."""
    drawn = np.random.default_rng(0)
    (folder / 'clips').mkdir()
    (folder / 'images').mkdir()
    for number in range(videos):
        texture = drawn.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        picture = cv2.resize(texture, (64, 32), interpolation=cv2.INTER_LINEAR)
        frames = np.stack([picture[:, k : k + 32] for k in range(16)])
        encode_video(folder / 'clips' / f'{number}.mp4', frames, 8)
    for number in range(images):
        texture = drawn.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), cv2.resize(texture, (40, 32)))
    return folder
