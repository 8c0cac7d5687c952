"""Fine-tuning an encoder for a number: its end result, and nothing else is kept."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from nextvid_mm.engine.probe.features import innermost_dataset
from nextvid_mm.registry import build_runner


def finetune(
    config: Config, encoder: str | None, rows: Sequence[int] | None, seed: int, folder: Path
) -> float:
    """Top-1 on validation (%) at the end of a fine-tuning.

    Args:
        config: a config of ``configs/finetune/``; it is not changed.
        encoder: checkpoint to start from; None trains from scratch.
        rows: numbers of the training samples that are used; None for all.
        seed: of the order of samples and new weights.
        folder: for the log.

    Raises:
        KeyboardInterrupt: if a signal ended it: what is there is no result.
    """
    config = copy.deepcopy(config)
    if encoder is None:
        config.model.backbone.init_cfg = None
    else:
        config.model.backbone.init_cfg.checkpoint = encoder
    if rows is not None:
        innermost_dataset(config.train_dataloader.dataset)['indices'] = list(rows)
    config.merge_from_dict(
        {
            'work_dir': str(folder),
            'experiment_name': f'{folder.name}_{os.getpid()}_{time.monotonic_ns()}',
            'randomness': dict(seed=seed),
            'log_level': 'WARNING',
            'train_cfg.val_interval': config.train_cfg.max_epochs,
            'default_hooks.checkpoint.interval': -1,
            'default_hooks.checkpoint.save_last': False,
            'visualizer.vis_backends': [],
        }
    )
    runner = build_runner(config)
    runner.train()
    if runner.iter < runner.max_iters:
        raise KeyboardInterrupt(folder.name)
    return 100 * float(runner.message_hub.get_scalar('val/acc/top1').current())
