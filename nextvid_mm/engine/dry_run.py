"""One step of every stage, a save and a validation, in a folder that is gone afterwards."""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.engine.stages import StageTable
from nextvid_mm.models.checkpoints.files import SHARDED, read_file
from nextvid_mm.registry import build_runner
from nextvid_mm.run_folder import process_count

_SPLITS = ('train', 'val', 'test')


def dry_run(cfg: Config) -> str:
    """Do everything that a run does, once, and leave nothing behind.

    Every stage takes one step on one micro-batch; a loop without stages takes one epoch of one
    batch. Then weights are saved, read back as resuming and tools do, and validated on one batch.

    Args:
        cfg: a complete config, as for training.

    Returns:
        A line for each step: shape, seconds, memory of the GPU.

    Raises:
        Exception: what the run would raise, hours later.
    """
    cfg = shortened(cfg)
    with tempfile.TemporaryDirectory(prefix='nextvid_dry_run_') as folder:
        cfg.work_dir = folder
        runner = build_runner(cfg)
        watch = _Watch()
        runner.register_hook(watch, 'LOWEST')
        runner.train()
        if cfg.get('test_dataloader') is not None:
            runner.test()
        saved = [*Path(folder).glob('*.pth'), *Path(folder).glob(f'*{SHARDED}')]
        size = max(map(_size, saved), default=0)
        # Of several processes, each has a folder of its own, with its shards alone.
        if saved and (saved[0].suffix != SHARDED or get_world_size() == 1):
            read_file(saved[0])
    lines = [*watch.lines, f'a checkpoint has {size / 2**20:,.1f} MiB', 'dry run: all is well']
    return '\n'.join(lines)


def shortened(cfg: Config) -> Config:
    """A copy of a config whose run is as short as it can be."""
    cfg = copy.deepcopy(cfg)
    cfg.resume = False
    for split in _SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None and (split != 'train' or 'stages' not in cfg.train_cfg):
            loader.num_batch_per_epoch = 1
    settings: dict[str, Any] = cfg.train_cfg
    if stages := settings.get('stages'):
        # Without a launcher it is one, also in a job of Slurm that may have several.
        processes = 1 if cfg.get('launcher', 'none') == 'none' else process_count()
        for stage, batch in zip(stages, StageTable(stages).batches(processes), strict=True):
            # Accumulation repeats what one micro-batch does.
            stage.update(steps=1, batch_size=processes * batch.micro_batch_size)
    for key, value in (('max_epochs', 1), ('max_iters', 1), ('val_interval', 1), ('val_begin', 1)):
        if key in settings:
            settings[key] = value
    hook = cfg.default_hooks.checkpoint
    hook.update(interval=1, save_last=True)
    cfg.load_from = cfg.get('load_from') or hook.get('start_from')
    if cfg.get('visualizer') is not None:
        cfg.visualizer.vis_backends = []
    return cfg


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    return sum(part.stat().st_size for part in [path, *path.glob('*')] if part.is_file())


class _Watch(Hook):
    """Notes what each step was like."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._start = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._start = time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        name = getattr(getattr(runner.train_loop, 'stage', None), 'name', f'step {runner.iter + 1}')
        inputs = data_batch['inputs'] if isinstance(data_batch, dict) else data_batch
        shape = f'{len(inputs)} x {tuple(inputs[0].shape)}'
        seconds = time.perf_counter() - self._start
        memory = ''
        if torch.cuda.is_available():
            memory = f', {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the GPU'
        self.lines.append(f'{name}: {shape}, {seconds:.1f} s{memory}')
