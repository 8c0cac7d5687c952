"""How many functions and files of this project a reader walks through.

``python -m benchmarks.hops`` trains one step of the demo's model on two clips and lists every
function of ``nextvid_mm`` that is entered between the request of the first batch and the first
backward pass. Lambdas and comprehensions do not count; what a worker process would run does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import nextvid_mm
from nextvid_mm.datasets.video_writer import encode_h264
from nextvid_mm.registry import SCOPE

PACKAGE = Path(nextvid_mm.__file__).parent
CONFIG = PACKAGE.parent / 'configs/nextvid/vit-tiny_demo.py'
SIZE, FRAMES = 64, 4


class Hops:
    """Functions of the package that were entered, in the order of their first call."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], None] = {}

    @property
    def files(self) -> list[str]:
        """Files the functions are in."""
        return list(dict.fromkeys(file for file, _ in self.functions))

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        """Take note of a call; of the signature that ``sys.setprofile`` asks for."""
        code = frame.f_code
        if event == 'call' and not code.co_name.startswith('<'):
            path = Path(code.co_filename)
            if path.is_relative_to(PACKAGE):
                self.functions[str(path.relative_to(PACKAGE)), code.co_qualname] = None


def step_hops(folder: str | Path) -> Hops:
    """From the request of the first batch to the first backward pass of the demo's model.

    Args:
        folder: for two clips and the run.
    """
    runner, hops = tiny_runner(Path(folder)), Hops()
    runner.register_hook(_Recorder(hops))
    try:
        runner.train()
    finally:
        sys.setprofile(None)
    return hops


class _Recorder(Hook):
    """Switches the record on when the loop begins its step, and off at the backward pass."""

    def __init__(self, hops: Hops) -> None:
        self.hops = hops

    def before_train(self, runner: Runner) -> None:
        """Stand before the two places; both exist only now."""
        loop, wrapper = runner.train_loop, runner.optim_wrapper
        run_iter, backward = loop.run_iter, wrapper.backward

        def start(batches: Any) -> None:
            sys.setprofile(self.hops)
            run_iter(batches)

        def stop(loss: Any, **kwargs: Any) -> None:
            sys.setprofile(None)
            backward(loss, **kwargs)

        loop.run_iter, wrapper.backward = start, stop


def tiny_runner(folder: Path) -> Runner:
    """A Runner for one step of the demo's config on two clips of noise."""
    init_default_scope(SCOPE)
    rng = np.random.default_rng(0)
    for number in range(2):
        frames = rng.integers(0, 256, (2 * FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
        encode_h264(folder / f'{number}.mp4', frames, fps=8)
    (folder / 'list.txt').write_text('0.mp4 0\n1.mp4 0\n', encoding='utf-8')
    cfg = Config.fromfile(CONFIG)
    (source,) = (s for s in cfg.train_dataloader.dataset.sources if s.name == 'videos')
    source.dataset.ann_file = str(folder / 'list.txt')
    source.dataset.data_prefix = dict(video=str(folder))
    for transform in source.dataset.pipeline:
        if 'cache_dir' in transform:
            transform.cache_dir = str(folder / 'cache')
    cfg.train_dataloader.dataset.sources = [source]
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    stage = dict(name='one', steps=1, lr=1e-3, tau_samples=1, num_frames=FRAMES, batch_size=2)
    cfg.train_cfg.stages = [stage]
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    cfg.work_dir, cfg.log_level = str(folder / 'run'), 'ERROR'
    cfg.experiment_name = f'hops_{folder.name}'
    return Runner.from_cfg(cfg)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the list and both numbers."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words not in ([], ['step']):
        sys.exit(f'hops: {" ".join(words)!r} is not the one thing that is counted: step')
    with tempfile.TemporaryDirectory() as folder:
        hops = step_hops(folder)
    for file, function in hops.functions:
        print(f'{file}: {function}')
    print(f'{len(hops.functions)} functions in {len(hops.files)} files')


if __name__ == '__main__':
    main()
