"""Tiny labelled videos on disk and a complete probe config for them."""

import copy
import itertools
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from probing import probe_config
from tiny import CONFIG, FRAMES, SIZE, build
from toy_training import ToyRunner

from nextvid_mm.datasets.video_writer import encode_video

NUM_TRAIN, NUM_VAL, CLASSES = 12, 7, 3  # 7: not divisible by 2 processes
_NUMBERS = itertools.count()
_BASE = Path(__file__).resolve().parents[2] / 'configs/_base_/probe/attentive.py'


class PlainConfig(Config):
    """Formatting the config with yapf, once per checkpoint, would take longer than training."""

    @property
    def pretty_text(self):
        return ''.join(f'{key} = {value!r}\n' for key, value in self.to_dict().items())


def make_videos(root):
    """Two lists of clips whose class is their brightness, at twice the encoder's size."""
    draw = np.random.default_rng(0)
    for split, count in (('train', NUM_TRAIN), ('val', NUM_VAL)):
        (root / split).mkdir(parents=True)
        lines = []
        for number in range(count):
            label = number % CLASSES
            shape = (FRAMES + 4, 2 * SIZE, 4 * SIZE, 3)
            frames = draw.integers(0, 90, shape) + 70 * label
            encode_video(root / split / f'{number}.mp4', frames.astype(np.uint8), fps=8)
            lines.append(f'{number}.mp4 {label}\n')
        (root / f'{split}.txt').write_text(''.join(lines))
    return root


def save_encoder(path, **changes):
    """A pretraining checkpoint, untrained."""
    torch.manual_seed(3)
    model = build(**changes)
    config = copy.deepcopy(CONFIG) | changes
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(iter=5, cfg=f'model = {config!r}')), path
    )
    return str(path)


def _loader(root, split, pipeline, **settings):
    dataset = dict(
        type='mmaction.VideoDataset',
        ann_file=str(root / f'{split}.txt'),
        data_prefix=dict(video=str(root / split)),
    )
    return dict(
        num_workers=0,
        persistent_workers=False,
        dataset=dict(
            type='LabelledDataset', pipeline=pipeline, dataset=dataset, test_mode=split == 'val'
        ),
        **settings,
    )


def _pipeline(*spatial, **sampling):
    return [
        dict(type='nextvid_mm.OpenVideo'),
        dict(type='nextvid_mm.SampleClipByTime', frame_interval=1, num_frames=FRAMES, **sampling),
        dict(type='nextvid_mm.ReadFrames'),
        *spatial,
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(type='mmaction.PackActionInputs'),
    ]


def probe_run(root, work_dir, **changes):
    """A config with random augmentation in training, three views in validation."""
    crop = dict(type='mmaction.RandomResizedCrop')
    resize = dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False)
    edge = dict(type='mmaction.Resize', scale=(-1, SIZE))
    three = dict(type='mmaction.ThreeCrop', crop_size=SIZE)
    val = _loader(root, 'val', _pipeline(edge, three, test_mode=True), batch_size=2)
    val['sampler'] = dict(type='DefaultSampler', shuffle=False)
    cfg = PlainConfig(Config.fromfile(_BASE).to_dict())
    cfg.model = probe_config(
        type='nextvid_mm.ProbeRecognizer',
        backbone=None,
        cls_head=dict(
            type='nextvid_mm.ProbeHead', num_classes=CLASSES, num_heads=2, lrs=[3e-3, 1e-3],
            weight_decays=[0.01, 0.1],
        ),
    )  # fmt: skip
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            experiment_name=f'probe{next(_NUMBERS)}',
            train_dataloader=_loader(root, 'train', _pipeline(crop, resize), batch_size=4),
            val_dataloader=val,
            test_dataloader=copy.deepcopy(val),
            test_pipeline=val['dataset']['pipeline'],
            train_cfg=dict(type='ExactEpochLoop', max_epochs=3, val_interval=3),
            param_scheduler=dict(
                type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True
            ),
            log_level='WARNING',
        )
    )
    cfg.visualizer.vis_backends = []
    cfg.merge_from_dict(changes)
    return cfg


def train(root, work_dir, *hooks, **changes):
    """Train to the end and return the Runner."""
    runner = ToyRunner.from_cfg(probe_run(root, work_dir, **changes))
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner
