"""How long a step takes: measured where it will run, or forecast from operations for a GPU."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.engine.stages import Stage
from nextvid_mm.plan.activations import (
    ActivationCounter,
    Activations,
    build_on_meta,
    recompute_of,
    visible_patches,
)
from nextvid_mm.plan.flops import step_cost
from nextvid_mm.plan.memory_plan import USABLE, count_weights, plan
from nextvid_mm.plan.run_sums import patches_of_masks
from nextvid_mm.progress import track
from nextvid_mm.registry import DATASETS, build_runner

# Dense bfloat16 TFLOP/s by data sheet, and memory in GB, in the order of memory.
GPUS = {
    'rtx3090': (71.0, 24),
    'l4': (121.0, 24),
    'rtx4090': (165.0, 24),
    'a100-40': (312.0, 40),
    'l40s': (362.0, 48),
    'a100': (312.0, 80),
    'h100': (989.0, 80),
    'h200': (989.0, 141),
}
# Share of the data sheet's rate that a step is taken to reach.
EFFICIENCY = 0.3
# On a CPU half of the memory is planned; activations there are in float32.
_CPU_USABLE, _CPU_FACTOR = 0.5, 2
_WARM_UP, _TIMED = 2, 5  # steps of every kind of stage
_DECODED = 8  # clips that are timed


@dataclass(frozen=True)
class Machine:
    """What a run is proposed for.

    Attributes:
        gpus: how many; 0 for this machine's CPU.
        memory: bytes of each, or of the CPU.
        tflops: dense bfloat16 rate of each GPU.
        name: for people.
    """

    gpus: int
    memory: float
    tflops: float
    name: str

    @classmethod
    def cpu(cls) -> Machine:
        """This one."""
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        threads = torch.get_num_threads()
        return cls(0, memory, 0.0, f"this machine's CPU, {threads} thread(s)")

    @classmethod
    def of_gpus(cls, count: int, memory: float, name: str | None = None) -> Machine:
        """GPUs by number, memory in GB and name; without a name the slowest of that memory.

        Raises:
            ValueError: for an unknown name.
        """
        if name is not None and name not in GPUS:
            raise ValueError(f'--gpu {name} is not one of {", ".join(GPUS)}')
        fitting = [key for key, (_, size) in GPUS.items() if size <= memory] or list(GPUS)[:1]
        largest = max(GPUS[key][1] for key in fitting)
        slow = min((k for k in fitting if GPUS[k][1] == largest), key=lambda k: GPUS[k][0])
        chosen = name or slow
        title = f'{count} x {chosen} of {memory:g} GB'
        return cls(count, memory * 1e9, GPUS[chosen][0], title)

    @property
    def world_size(self) -> int:
        """Processes."""
        return max(1, self.gpus)


def seconds_per_clip(config: Config, stages: Sequence[Stage], machine: Machine) -> list[float]:
    """Seconds that one clip of each stage takes on all GPUs together: arithmetic, no measurement.

    Args:
        config: of the pretraining.
        stages: of its table.
        machine: with GPUs.
    """
    masks = patches_of_masks(config)
    model, pixels = config.model, config.model.backbone.img_size
    work = [
        step_cost(model, 1, stage.num_frames, pixels, masks, stage.tau_samples) for stage in stages
    ]
    rate = machine.gpus * machine.tflops * 1e12 * EFFICIENCY
    # A block that is recomputed runs forward twice.
    again = 1 + 1 / 3 if model.backbone.get('with_cp') is True else 1
    return [again * sum(cost.total for cost in costs.values()) / rate for costs in work]


def clips_at_once(config: Config, stages: Sequence[Stage], machine: Machine) -> list[int]:
    """Most clips of each stage that fit a GPU at once, or this machine's memory: a power of two.

    0 where not even one fits.
    """
    model = build_on_meta(config.model)
    visible = visible_patches(
        config.train_dataloader.dataset.pipeline, config.model.backbone.img_size
    )
    fixed = plan(count_weights(model), Activations(0), 0).total
    counter = ActivationCounter(config.model, visible)
    recompute = recompute_of(config.model)
    room = machine.memory * (USABLE if machine.gpus else _CPU_USABLE) - fixed
    found = []
    for stage in stages:
        kept = counter.count(stage.num_frames, stage.tau_samples, recompute)
        size = (kept.kept + kept.recomputed) * (1 if machine.gpus else _CPU_FACTOR)
        fitting = int(room // size)
        found.append(1 << (fitting.bit_length() - 1) if fitting > 0 else 0)
    return found


class _Clock(Hook):
    """Writes down when steps end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self.ends.append(time.perf_counter())


def timed_seconds_per_clip(config: Config, stages: Sequence[Stage]) -> list[float]:
    """Seconds per clip of each stage, of real steps on real clips, in a run that leaves nothing.

    Args:
        config: of the pretraining.
        stages: of its table; the number of clips at once is timed.
    """
    cfg, clock = copy.deepcopy(config), _Clock()
    table = [
        dict(
            vars(stage),
            name=f'{stage.name} {number}',
            steps=_WARM_UP + _TIMED,
            batch_size=stage.micro_batch_size or stage.batch_size,
        )
        for number, stage in enumerate(stages)
    ]
    with tempfile.TemporaryDirectory() as folder:
        cfg.train_cfg.stages = table
        cfg.merge_from_dict(
            {
                'work_dir': folder,
                'experiment_name': f'proposal_{os.getpid()}_{time.monotonic_ns()}',
                'log_level': 'ERROR',  # the log of a run that leaves nothing: nobody can act on it
                'default_hooks.checkpoint.interval': -1,
                'default_hooks.checkpoint.save_last': False,
                'visualizer.vis_backends': [],
            }
        )
        runner = build_runner(cfg)
        runner.register_hook(clock, 'VERY_LOW')
        runner.logger.setLevel('ERROR')
        runner.train()
        MMLogger.get_current_instance().setLevel('WARNING')
    found, length = [], _WARM_UP + _TIMED
    for number, stage in enumerate(table):
        ends = clock.ends[number * length + _WARM_UP - 1 : (number + 1) * length]
        # What else runs on the machine slows single steps down.
        found.append(median(np.diff(ends).tolist()) / stage['batch_size'])
    return found


def decoding_seconds(config: Config, num_frames: int) -> float:
    """Seconds of one core for a clip, from the file to its masks.

    Args:
        config: of the pretraining.
        num_frames: video frames of the clip.
    """
    dataset = DATASETS.build(copy.deepcopy(config.train_dataloader.dataset))
    requests = ClipSampler(dataset, seed=0).requests(np.arange(_DECODED + 1), num_frames)
    dataset[requests[0]]  # makes masks, opens libraries
    start = time.process_time()
    for request in track(requests[1:], 'reading clips', 'clips'):
        dataset[request]
    return (time.process_time() - start) / _DECODED


def config_of(text: str) -> Config:
    """The config that a text stands for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'proposed.py')
        path.write_text(text, encoding='utf-8')
        return Config.fromfile(path)
