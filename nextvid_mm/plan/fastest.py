"""The fastest setting that fits a GPU: clips at once, and what each network recomputes.

Arithmetic, not a measurement. What a setting costs is what it adds to a step: products that are
computed again, tensors that are written again, and weights that are read for fewer clips at once.
Compiling is always taken: it moves less, and keeps about as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from mmengine.config import Config
from rich.table import Table

from nextvid_mm.engine.stages import Stage, StageTable
from nextvid_mm.plan.activations import PARTS, ActivationCounter, build_on_meta, visible_patches
from nextvid_mm.plan.flops import step_cost, uncounted
from nextvid_mm.plan.memory_plan import USABLE, Weights, count_weights, plan
from nextvid_mm.plan.run_sums import patches_of_masks
from nextvid_mm.progress import track

SETTINGS: tuple[bool | str, ...] = (False, 'products', True)
# What costs are told for: an H100, products at 70 % of its peak, bytes at 85 % of its bandwidth.
# Other GPUs have other times, but much the same order of settings.
PRODUCTS, BYTES = 0.7 * 989e12, 0.85 * 3.35e12
# A pass reads weights, writes bfloat16 copies, and adds its gradients up.
PASS_BYTES = 16
# Fewer video frames at once leave parts of a large GPU idle: only where nothing else fits.
FEWEST_FRAMES = 128
KEYS = dict(
    backbone='model.backbone.with_cp', neck='model.neck.with_cp', head='model.head.decoder.with_cp'
)
_NETWORKS = dict(backbone='encoder', neck='predictor', head='decoder')


@dataclass(frozen=True)
class Choice:
    """A setting of one stage.

    Attributes:
        clips: at once.
        recompute: ``with_cp`` by names of ``PARTS``.
        memory: bytes of a GPU, all purposes.
        extra: seconds a clip that it costs beyond a GPU without limits, by arithmetic.
    """

    clips: int
    recompute: dict[str, bool | str]
    memory: int
    extra: float


@dataclass(frozen=True)
class Found:
    """What fits: one recomputation for all stages, which is what a config can say.

    Attributes:
        recompute: ``with_cp`` by names of ``PARTS``.
        stages: name and best setting of each stage with that recomputation.
        best: the best setting of each stage by itself.
    """

    recompute: dict[str, bool | str]
    stages: list[tuple[Stage, Choice]]
    best: list[Choice]

    @property
    def options(self) -> dict[str, Any]:
        """Config keys with their values, ``--cfg-options`` as they stand."""
        keys: dict[str, Any] = {'model.compile': True}
        keys |= {KEYS[name]: value for name, value in self.recompute.items()}
        for number, (_, choice) in enumerate(self.stages):
            keys[f'train_cfg.stages.{number}.micro_batch_size'] = choice.clips
        return keys


class Fastest:
    """Looks for settings of a ``NextVid``'s config.

    Args:
        config: of the pretraining.
        memory: of a GPU in GB (10^9 bytes).
        world_size: GPUs.
        shards: GPUs that share one copy under FSDP2; None: a copy on each.

    Raises:
        ValueError: if its operations cannot be counted.
    """

    def __init__(self, config: Config, memory: float, world_size: int, shards: int | None = None):
        if other := uncounted(config.model):
            raise ValueError(
                f'{other}: operations are counted of a NextVid with CausalViT, QFormerPredictor '
                'and FrameDiT; without --gpu, tables of memory are for other models, too'
            )
        self.model, self.room = config.model, memory * 1e9 * USABLE
        self.table = StageTable(config.train_cfg.stages)
        batches = self.table.batches(world_size)
        self.clips = [batch.micro_batch_size * batch.accumulation for batch in batches]
        self.shards, self.masks = shards, patches_of_masks(config)
        self.weights: Weights = count_weights(build_on_meta(self.model))
        self.pixels = self.model.backbone.img_size
        visible = visible_patches(config.train_dataloader.dataset.pipeline, self.pixels)
        self.counter = ActivationCounter(self.model, visible)
        self._seen: dict[tuple[int, int, int], list[Choice]] = {}

    def choices(self, stage: Stage, clips: int) -> list[Choice]:
        """Every setting of a stage, whether it fits or not, the fastest first.

        Args:
            stage: of the table.
            clips: of a step that a GPU takes, at once or in equal parts.
        """
        key = (stage.num_frames, stage.tau_samples, clips)
        if key not in self._seen:
            few = -(-FEWEST_FRAMES // stage.num_frames)
            found = self._choices(stage, clips)
            self._seen[key] = sorted(found, key=lambda c: (c.clips < few, c.extra))
        return self._seen[key]

    def _choices(self, stage: Stage, step: int) -> Iterator[Choice]:
        frames, tau = stage.num_frames, stage.tau_samples
        costs = step_cost(self.model, 1, frames, self.pixels, self.masks, tau)
        everything = self.counter.count(frames, tau)
        names = [name for name in PARTS if name in self.counter.parts]
        sizes = [n for n in range(1, step + 1) if step % n == 0]
        for settings in product(SETTINGS, repeat=len(names)):
            recompute = dict(zip(names, settings, strict=True))
            kept = self.counter.count(frames, tau, recompute)
            again = sum(costs[_NETWORKS[n]].forward for n, how in recompute.items() if how is True)
            # What is not kept is written and read again.
            seconds = again / PRODUCTS + 2 * (everything.kept - kept.kept) / BYTES
            for clips in sizes:
                memory = plan(self.weights, kept, clips, self.shards).total
                extra = seconds + PASS_BYTES * self.weights.trainable / BYTES / clips
                yield Choice(clips, recompute, memory, extra)

    def find(self) -> Found:
        """The settings that cost least over a whole run.

        Raises:
            ValueError: if a stage fits with no setting; says what it needs at least.
        """
        fitting = []
        pairs = list(zip(self.table, self.clips, strict=True))
        for stage, clips in track(pairs, 'counting', 'stages'):
            every = self.choices(stage, clips)
            fits = [choice for choice in every if choice.memory <= self.room]
            if not fits:
                least = min(every, key=lambda c: c.memory)
                raise ValueError(
                    f'stage {stage.name!r} does not fit: one clip that recomputes everything needs '
                    f'{least.memory / 1e9:.1f} GB, {self.room / 1e9:.1f} GB are '
                    f'planned ({USABLE:.0%} of --gpu): shard the model (FSDP)'
                )
            fitting.append(fits)
        stages = list(self.table)
        work = [stage.steps * stage.batch_size for stage in stages]
        found: list[tuple[int, float, list[Choice]]] = []
        for settings in _distinct(fitting):
            firsts = [next((c for c in f if c.recompute == settings), None) for f in fitting]
            chosen = [choice for choice in firsts if choice is not None]
            if len(chosen) == len(stages):
                total = sum(n * c.extra for n, c in zip(work, chosen, strict=True))
                few = sum(
                    c.clips * s.num_frames < FEWEST_FRAMES
                    for s, c in zip(stages, chosen, strict=True)
                )
                found.append((few, total, chosen))
        # Everything recomputed fits wherever anything does, so there is one.
        chosen = min(found, key=lambda entry: entry[:2])[-1]
        together = list(zip(stages, chosen, strict=True))
        return Found(chosen[0].recompute, together, [fits[0] for fits in fitting])


def _distinct(fitting: Sequence[Sequence[Choice]]) -> list[dict[str, bool | str]]:
    seen: list[dict[str, bool | str]] = []
    for choice in fitting[0]:
        if choice.recompute not in seen:
            seen.append(choice.recompute)
    return seen


def told(recompute: Mapping[str, bool | str]) -> str:
    """What networks recompute, in words."""
    words = {False: 'nothing', 'products': 'all but products', True: 'blocks'}
    return ', '.join(f'{_NETWORKS[name]} {words[how]}' for name, how in recompute.items())


def describe(found: Found, gpu: float, title: str) -> Iterator[Table | str]:
    """Lay out what fits for the terminal."""
    view = Table(title=title, title_justify='left')
    for name in ('stage', 'frames', 'tau', 'clips at once', 'recomputed', 'GB', 'ms a clip more'):
        view.add_column(name, justify='left' if name in ('stage', 'recomputed') else 'right')
    for (stage, choice), best in zip(found.stages, found.best, strict=True):
        for row in [best] if best == choice else [best, choice]:
            name = stage.name if row == choice else f'{stage.name}, by itself'
            sizes = (str(stage.num_frames), str(stage.tau_samples), str(row.clips))
            cost = f'{row.memory / 1e9:.1f}', f'{1e3 * row.extra:.2f}'
            view.add_row(name, *sizes, told(row.recompute), *cost)
    yield view
    yield (
        f'{USABLE:.0%} of {gpu:g} GB are planned. By arithmetic for an H100, not measured. '
        'A config has one with_cp for all stages:'
    )
    yield '--cfg-options ' + ' '.join(f'{key}={value}' for key, value in found.options.items())
