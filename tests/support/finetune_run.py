"""The demo's fine-tuning config on tiny labelled videos."""

import copy
import itertools
from pathlib import Path

from mmengine.config import Config
from probe_run import CLASSES, PlainConfig
from tiny import CONFIG, FRAMES, SIZE

_NUMBERS = itertools.count()
_FILE = Path(__file__).resolve().parents[2] / 'configs/finetune/demo.py'


def finetune_run(root, work_dir, encoder, **changes):
    """A config with mixing in training, three views in validation."""
    cfg = PlainConfig(Config.fromfile(_FILE).to_dict())
    tiny = CONFIG['backbone']
    cfg.model.backbone.update({k: v for k, v in tiny.items() if k != 'type'})
    cfg.model.backbone.init_cfg.checkpoint = encoder
    cfg.model.cls_head.update(in_channels=24, num_heads=2, num_classes=CLASSES)
    cfg.model.data_preprocessor.blending = dict(
        type='mmaction.RandomBatchAugment',
        augments=[
            dict(type='mmaction.MixupBlending', alpha=0.8, num_classes=CLASSES),
            dict(type='mmaction.CutmixBlending', alpha=1.0, num_classes=CLASSES),
        ],
    )
    clips = dict(type='nextvid_mm.SampleClipByTime', frame_interval=1, num_frames=FRAMES)
    opened, decode = dict(type='nextvid_mm.OpenVideo'), dict(type='nextvid_mm.ReadFrames')
    pack = [
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(type='mmaction.PackActionInputs'),
    ]
    train = [
        opened,
        clips,
        decode,
        dict(type='mmaction.RandomResizedCrop'),
        dict(type='mmaction.Resize', scale=(SIZE, SIZE), keep_ratio=False),
        dict(type='mmaction.TorchVisionWrapper', op='RandAugment', num_ops=2, magnitude=9),
        dict(type='mmaction.RandomErasing', erase_prob=0.25, mode='rand'),
        *pack,
    ]
    test = [
        opened,
        dict(clips, test_mode=True),
        decode,
        dict(type='mmaction.Resize', scale=(-1, SIZE)),
        dict(type='mmaction.ThreeCrop', crop_size=SIZE),
        *pack,
    ]
    for split, pipeline in (('train', train), ('val', test)):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.pipeline = pipeline
        loader.dataset.dataset.update(
            ann_file=str(root / f'{split}.txt'), data_prefix=dict(video=str(root / split))
        )
    cfg.train_dataloader.batch_size = 4
    cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)
    cfg.test_pipeline = copy.deepcopy(test)
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            experiment_name=f'finetune{next(_NUMBERS)}',
            train_cfg=dict(max_epochs=3, val_interval=3),
            log_level='WARNING',
        )
    )
    cfg.param_scheduler = dict(
        type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True
    )
    cfg.visualizer.vis_backends = []
    cfg.merge_from_dict(changes)
    return cfg
