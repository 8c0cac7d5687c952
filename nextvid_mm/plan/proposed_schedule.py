"""The published stage table, stretched to the hours there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmengine.config import Config

from nextvid_mm.config_files import find_config
from nextvid_mm.engine.stages import Stage, StageTable
from nextvid_mm.plan.proposed_configs import Choice, Settings

BATCHES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)
WANTED_STEPS, FEWEST_STEPS = 30_000, 500
# Share of the hours for checkpoints, start and what else is no step.
SPARE = 0.05
# Encoders narrower than this take the demo's rates, whatever the batch: those of the paper times
# these, for encoder and decoder.
NARROW = 256
_DEMO_RATES, _DEMO_BATCH = (4.0, 2.5), 64
_PUBLISHED_BATCH, _PUBLISHED_WIDTH = 3072, 1024


def published_stages(num_frames: int, longest: int) -> list[Stage]:
    """The published table with the frames of a clip, and those of the cool-down."""
    table = Config.fromfile(find_config('_base_/schedules/paper_4stage.py')).train_cfg.stages
    stages = [Stage(**stage) for stage in table]
    lengths = [num_frames] * (len(stages) - 1) + [longest]
    pairs = zip(stages, lengths, strict=True)
    return [replace(stage, num_frames=n, micro_batch_size=1) for stage, n in pairs]


class FittedSchedule:
    """A stage table for an encoder whose clips take a known time.

    Args:
        draft: the settings; their stages are the published ones.
        seconds: per clip of each stage, on all processes together.
        together: clips of each stage that a process takes at once.
        world: number of processes.
        hours: for all stages.

    Raises:
        ValueError: if the hours are too few for four stages; says how many would do.
    """

    def __init__(
        self,
        draft: Settings,
        seconds: Sequence[float],
        together: Sequence[int],
        world: int,
        hours: float,
    ):
        self.draft, self.seconds, self.world = draft, list(seconds), world
        self._time = hours * 3600 * (1 - SPARE)
        shape = draft.stages
        self._shares = [stage.steps / sum(s.steps for s in shape) for stage in shape]
        self.batch = self._choose_batch()
        steps = self._steps(self.batch)
        if steps < FEWEST_STEPS:
            needed = 1.06 * hours * FEWEST_STEPS / steps  # two digits may take 5 % off
            smaller = '' if draft.size == 'tiny' else ', or take a smaller --size'
            raise ValueError(
                f'--hours {hours:g} hold {steps:.0f} steps of {self.batch} clips ({draft.size}, '
                f'{draft.img_size} px), too few for four stages: --hours {needed:.2g} hold '
                f'{FEWEST_STEPS}{smaller}'
            )
        self.momentum = 1 - min(0.01, 99 / steps)
        sizes = self._sizes(self.batch)
        self.stages = [
            self._stage(stage, max(1, int(share * steps)), size, limit)
            for stage, share, size, limit in zip(shape, self._shares, sizes, together, strict=True)
        ]

    @property
    def step_seconds(self) -> list[float]:
        """Of a step of each stage."""
        pairs = zip(self.stages, self.seconds, strict=True)
        return [stage.batch_size * seconds for stage, seconds in pairs]

    @property
    def hours(self) -> float:
        """That all stages take, with what is spared for the rest."""
        pairs = zip(self.stages, self.step_seconds, strict=True)
        return sum(stage.steps * seconds for stage, seconds in pairs) / 3600 / (1 - SPARE)

    def _choose_batch(self) -> int:
        """The largest that leaves the wanted steps."""
        allowed = [b for b in BATCHES if b % self.world == 0] or [self.world]
        if self.draft.width < NARROW:
            allowed = [b for b in allowed if b <= _DEMO_BATCH] or allowed[:1]
        fitting = [batch for batch in allowed if self._steps(batch) >= WANTED_STEPS]
        return max(fitting, default=allowed[0])

    def _sizes(self, batch: int) -> list[int]:
        """Clips of a step of each stage: longer clips are fewer, as published."""
        counts = [batch * self.draft.num_frames / s.num_frames for s in self.draft.stages]
        return [max(self.world, round(count / self.world) * self.world) for count in counts]

    def _steps(self, batch: int) -> float:
        rows = zip(self._shares, self._sizes(batch), self.seconds, strict=True)
        return self._time / sum(share * size * seconds for share, size, seconds in rows)

    def _stage(self, stage: Stage, steps: int, size: int, limit: int) -> Stage:
        encoder, decoder = self.rates
        flow = stage.flow_lr
        return replace(
            stage,
            steps=steps,
            batch_size=size,
            micro_batch_size=min(limit, size // self.world),
            lr=(encoder * stage.lr[0], encoder * stage.lr[1]),
            flow_lr=None if flow is None else (decoder * flow[0], decoder * flow[1]),
            ema_momentum=round(self.momentum, 6),
        )

    @property
    def rates(self) -> tuple[float, float]:
        """Factors on the published rates of encoder and decoder, whose width is the published."""
        if self.draft.width < NARROW:
            return _DEMO_RATES
        root = (self.batch / _PUBLISHED_BATCH) ** 0.5
        return root * _PUBLISHED_WIDTH / self.draft.width, root

    def choices(self, room: str, different: int) -> list[Choice]:
        """Lines about the schedule.

        Args:
            room: memory that the clips at once fit.
            different: clips that there are.
        """
        first, last = self.stages[0], self.stages[-1]
        total, clips = sum(s.steps for s in self.stages), sum(
            s.steps * s.batch_size for s in self.stages
        )  # fmt: skip
        steps = ' + '.join(f'{stage.steps:,}' for stage in self.stages)
        batches = StageTable(self.stages).batches(self.world)
        passes = [f'{b.micro_batch_size} x {b.accumulation}' for b in (batches[0], batches[-1])]
        times = clips / different
        often = (
            'each from another start'
            if times < 1000
            else 'more than so few can teach: fewer hours, or more videos'
        )
        longer = (
            'longer clips, as published'
            if last.num_frames > first.num_frames
            else 'longer clips do not fit the videos'
        )
        source = (
            "the demo's, whatever the batch"
            if self.draft.width < NARROW
            else "the paper's by the square root of the batch and one over the width"
        )
        rows = (
            ('batch', self.batch, f'larger ones once there are {WANTED_STEPS:,} steps'),
            ('clips at once', ', '.join(passes), f'per process, x passes; {room}'),
            ('steps', f'{total:,} = {steps}', "four stages in the paper's proportions"),
            ('cool-down', f'{last.batch_size} clips of {last.num_frames} frames', longer),
            ('each clip is seen', f'{times:,.0f} times', often),
            ('learning rate', f'up to {first.lr[1]:.2g}', source),
            (
                'EMA momentum',
                f'{self.momentum:.5g}',
                f'remembers {1 / (1 - self.momentum):,.0f} steps: a hundredth, at least 100',
            ),
        )
        return [Choice(name, str(value), reason) for name, value, reason in rows]
