"""How many functions and files of this project a reader walks through.

``python -m benchmarks hops`` counts every function of ``nextvid_mm`` that is entered on a way, in
the order of the first call. Lambdas, comprehensions and import hooks do not count; what a worker
process would run does, because there are none. Two ways:

* ``step``: a steady training step of the demo's model, from the request of its second batch, when
  what is done once is done, to its backward pass;
* ``probe``: from a checkpoint file to the result of its probes, everything.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data.dataloader import _BaseDataLoaderIter

import nextvid_mm
from benchmarks.report import Report
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.engine.probe import fit_probe
from nextvid_mm.registry import SCOPE

PACKAGE = Path(nextvid_mm.__file__).parent
CONFIGS = PACKAGE.parent / 'configs'
SIZE, FRAMES = 64, 4
# Most functions and files we want a reader to meet; None: not limited.
GOALS: dict[str, tuple[int | None, int]] = dict(step=(60, 25), probe=(None, 25))


class Hops:
    """Functions of the package that were entered, in the order of their first call."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], None] = {}

    @property
    def files(self) -> list[str]:
        """Files the functions are in."""
        return list(dict.fromkeys(file for file, _ in self.functions))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Take note of every call within."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == 'call' and not code.co_name.startswith(('<', 'find_spec')):
            path = Path(code.co_filename)
            if path.is_relative_to(PACKAGE):
                self.functions[str(path.relative_to(PACKAGE)), code.co_qualname] = None


def step_hops(folder: Path) -> Hops:
    """From the request of the second batch to the backward pass that follows.

    Args:
        folder: for clips and the run.
    """
    runner, hops = tiny_runner(folder), Hops()
    fetch, backward, requests = _BaseDataLoaderIter.__next__, torch.Tensor.backward, 0

    def start(batches: Any) -> Any:
        nonlocal requests
        requests += 1
        if requests == 2:
            sys.setprofile(hops._note)
        return fetch(batches)

    def stop(loss: Any, *args: Any, **kwargs: Any) -> None:
        sys.setprofile(None)
        backward(loss, *args, **kwargs)

    try:
        with (
            patch.object(_BaseDataLoaderIter, '__next__', start),
            patch.object(torch.Tensor, 'backward', stop),
        ):
            runner.train()
    finally:
        sys.setprofile(None)
    return hops


def probe_hops(folder: Path) -> Hops:
    """From a checkpoint file to the result of its probes.

    Args:
        folder: for clips, the checkpoint and the run.
    """
    runner, checkpoint = tiny_runner(folder), folder / 'checkpoint.pth'
    meta = dict(iter=0, cfg=runner.cfg.pretty_text)
    torch.save(dict(state_dict=runner.model.state_dict(), meta=meta), checkpoint)
    cfg = Config.fromfile(CONFIGS / 'probe/demo.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        _use_clips(loader.dataset.dataset, folder, loader.dataset.pipeline)
        sampling = next(t for t in loader.dataset.pipeline if 'num_frames' in t)
        sampling.num_frames = FRAMES
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.log_level = 'ERROR'
    hops = Hops()
    with hops.recording():
        fit_probe(cfg, checkpoint, folder / 'probe', 0)
    return hops


def tiny_runner(folder: Path) -> Runner:
    """A Runner for two steps of the demo's config on a clip of noise."""
    init_default_scope(SCOPE)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2 * FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    # One clip under two labels: after the first batch it is in the cache.
    encode_video(folder / 'clip.mp4', frames, fps=8)
    (folder / 'list.txt').write_text('clip.mp4 0\nclip.mp4 1\n', encoding='utf-8')
    cfg = Config.fromfile(CONFIGS / 'nextvid/vit-tiny_demo.py')
    (source,) = (s for s in cfg.train_dataloader.dataset.sources if s.name == 'videos')
    _use_clips(source.dataset, folder, source.dataset.pipeline)
    cfg.train_dataloader.dataset.sources = [source]
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    stage = dict(name='one', steps=2, lr=1e-3, tau_samples=1, num_frames=FRAMES, batch_size=2)
    cfg.train_cfg.stages = [stage]
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    cfg.work_dir, cfg.log_level = str(folder / 'run'), 'ERROR'
    cfg.experiment_name = f'hops_{folder.name}'
    return Runner.from_cfg(cfg)


def _use_clips(dataset: Any, folder: Path, pipeline: Any) -> None:
    """Let a config's dataset read the clips in ``folder``."""
    dataset.ann_file, dataset.data_prefix = str(folder / 'list.txt'), dict(video=str(folder))
    for transform in pipeline:
        if 'cache_dir' in transform:
            transform.cache_dir = str(folder / 'cache')


WAYS: dict[str, Callable[[Path], Hops]] = dict(step=step_hops, probe=probe_hops)


def count_hops(way: str) -> Report:
    """All functions on one way, one a row; notes say the numbers and the goals that are missed.

    Args:
        way: ``step`` or ``probe``.
    """
    with tempfile.TemporaryDirectory() as folder:
        hops = WAYS[way](Path(folder))
    report = Report(f'functions of a {way}', dict(way=way), ('file', 'function'))
    for file, function in hops.functions:
        report.add(file=file, function=function)
    counts = dict(functions=len(hops.functions), files=len(hops.files))
    report.notes.append(f'{way}: {counts["functions"]} functions in {counts["files"]} files')
    for (what, count), goal in zip(counts.items(), GOALS[way], strict=True):
        if goal is not None and count > goal:
            report.notes.append(f'{count - goal} {what} more than the goal of {goal}')
    return report
