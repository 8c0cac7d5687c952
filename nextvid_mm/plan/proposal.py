"""From what a folder holds, a machine and a number of hours to every setting of a pretraining.

The rules are those that ``docs/recipes.md`` states. They are rules of thumb: nobody has tuned them
on folders like these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from nextvid_mm.layers import ARCHITECTURES, resolve_arch
from nextvid_mm.models.checkpoints import causal_settings, read_checkpoint, stored_backbone
from nextvid_mm.plan.proposed_configs import (
    MOTION,
    NORMALIZED,
    PAPER_MASKS,
    Choice,
    Settings,
    pretrain_text,
)
from nextvid_mm.plan.proposed_schedule import NARROW, SPARE, FittedSchedule, published_stages
from nextvid_mm.plan.step_time import (
    Machine,
    clips_at_once,
    config_of,
    decoding_seconds,
    seconds_per_clip,
    timed_seconds_per_clip,
)
from nextvid_mm.plan.survey import Clip, Survey, fit_clip

# A size is taken if so many clips pass in the hours, and so many different ones are there.
WORTH = {'large': (40e6, 200_000), 'base': (10e6, 20_000), 'small': (0.0, 0)}
# Clips at once: more gain nothing. On a CPU, caches like fewer.
_MOST, _MOST_ON_CPU = 64, 16
_PIXELS, _PIXELS_ON_CPU = 256, 64
_WEIGHTS = [
    Path('checkpoints', name) for name in ('vavae-imagenet256-f16d32-dinov2.pt', 'latents_stats.pt')
]


@dataclass(frozen=True)
class Wishes:
    """What the user decides.

    Attributes:
        hours: of pretraining.
        size: of the encoder; None leaves it open.
        start: a file with an encoder to go on from; None for new weights.
    """

    hours: float
    size: str | None = None
    start: str | None = None


@dataclass(frozen=True)
class Proposal:
    """What is proposed.

    Attributes:
        settings: of the configs.
        choices: every one with its reason.
        hours: that all stages take.
        measured: by real steps; otherwise forecast.
        first_steps: seconds of the first 20 steps.
    """

    settings: Settings
    choices: Sequence[Choice]
    hours: float
    measured: bool
    first_steps: float


class Proposer:
    """Decides for one folder and machine; times steps once, however many hours are asked for.

    Args:
        found: the folder.
        machine: what runs.
        wishes: of the user.
        name: of the configs.

    Raises:
        ValueError: if the videos are too few or too short, or the wishes cannot be met; says what
            would do.
    """

    def __init__(self, found: Survey, machine: Machine, wishes: Wishes, name: str):
        if wishes.size is not None and wishes.start is not None:
            raise ValueError('--size and --from: the size is that of the encoder in the file')
        self.found, self.machine, self.wishes, self.name = found, machine, wishes, name
        self._choices: list[Choice] = []
        self._seconds: dict[str, list[float]] = {}
        self._together: dict[str, list[int]] = {}
        self._decoding: dict[str, float] = {}

    def propose(self, hours: float | None = None) -> Proposal:
        """Decide everything for these hours; None for those of the wishes."""
        hours = self.wishes.hours if hours is None else hours
        clip, self._choices = fit_clip(self.found)
        draft = self._encoder(clip, hours)
        together = self._fitting(draft)
        fitted = FittedSchedule(draft, self._time(draft), together, self.machine.world_size, hours)
        room = f'fits {self.machine.memory / 1e9:.0f} GB'
        self._choices += fitted.choices(room, clip.different)
        workers = self._workers(draft, fitted)
        total = sum(stage.steps for stage in fitted.stages)
        interval = max(20, min(1000, round(1800 / fitted.step_seconds[0]), total // 5))
        self._say('checkpoint every', f'{interval:,} steps', 'at most half an hour is lost')
        how = 'by real steps' if self.measured else 'a FORECAST by arithmetic, not measured'
        self._say('time', f'{fitted.hours:.3g} h', f'{how}; {SPARE:.0%} are spare')
        settings = replace(draft, stages=fitted.stages, interval=interval, workers=workers)
        first = 20 * fitted.step_seconds[0]
        return Proposal(settings, self._choices, fitted.hours, self.measured, first)

    @property
    def measured(self) -> bool:
        """Whether times are of real steps."""
        return not self.machine.gpus

    def _say(self, name: str, value: Any, reason: str) -> None:
        self._choices.append(Choice(name, str(value), reason))

    # -- encoder ------------------------------------------------------------------------------

    def _encoder(self, clip: Clip, hours: float) -> Settings:
        """Size, resolution, patches, masks and targets."""
        if self.wishes.start is not None:
            draft = self._going_on(clip, self.wishes.start)
        elif self.wishes.size is not None:
            self._say('size', self.wishes.size, '--size')
            draft = self._draft(clip, self.wishes.size)
        elif self.measured:
            self._say('size', 'tiny', 'what a CPU trains in hours')
            draft = self._draft(clip, 'tiny')
        else:
            draft = self._largest(clip, hours)
        side, grid = self.found.quantile('side', 0.25), draft.img_size // draft.patch_size
        why = f'a quarter of the videos has a short side of {side:.0f} px or less'
        if side < draft.img_size:
            why = f'more than the videos have ({side:.0f} px): the fewest that make a grid'
        elif draft.img_size + draft.patch_size > (_PIXELS_ON_CPU if self.measured else _PIXELS):
            why = 'what a CPU trains in hours' if self.measured else 'as published'
        self._say('resolution', f'{draft.img_size} px', why)
        self._say('patch', f'{draft.patch_size} px', f'{grid} x {grid} patches a frame')
        if draft.masks:
            blocks = ' and '.join(f'{n} x {scale:g} of a frame' for n, scale in draft.masks)
            self._say('masks', blocks, 'as published')
        else:
            self._say('masks', 'none', 'on so few patches they would hide what moves')
            weighted = 'what gains without masks: docs/ablations.md'
            self._say('losses', f'motion={MOTION}, normalize_target={NORMALIZED!r}', weighted)
        all_of_them = (
            'visible patches, too: hidden ones alone teach little on a small grid'
            if draft.masks
            else 'every patch of the next tubelet'
        )
        self._say('queries', draft.queries, 'as published' if grid >= 12 else all_of_them)
        pixels = 'need no weights; VA-VAE latents, as published, are in docs/targets.md'
        targets = ('VA-VAE latents', 'as published') if draft.vavae else ('pooled pixels', pixels)
        self._say('targets', *targets)
        if draft.pictures:
            reason = f'of the clips are pictures, of which there are {self.found.pictures:,}'
            self._say('pictures', f'{draft.pictures:.0%}', f'{reason}; at most the published 25 %')
        return draft

    def _going_on(self, clip: Clip, path: str) -> Settings:
        """What the file's encoder asks for, with a word on what is new to it."""
        stored = stored_backbone(read_checkpoint(path))
        if stored is None:
            raise ValueError(
                f'--from {path} does not say what its encoder is: convert published checkpoints '
                'with tools/convert_checkpoint.py first'
            )
        kept = causal_settings(stored, path)
        draft = self._draft(clip, kept['arch'], kept['patch_size'], kept['tubelet_size'])
        start = dict(type='nextvid_mm.EncoderWeights', checkpoint=path, adapt=True)
        self._say('size', size_name(draft.arch), f'that of the encoder in {path}')
        self._say('starts from', stored['type'], 'encoder and reference; the rest is new')
        if not stored.get('causal', stored['type'].endswith('CausalViT')):
            self._say('attention', 'causal', 'NEW to these weights, which saw whole clips: expect '
                      'worse features before better ones')  # fmt: skip
        if stored.get('positions', 'rope') in ('sinusoid', 'learned'):
            self._say('positions', 'rotary', f'NEW to these weights: its {stored["positions"]} '
                      'ones are left out')  # fmt: skip
        if draft.patch_size != kept['patch_size']:
            reason = f'those of {kept["patch_size"]} px would leave too few patches'
            self._say('patch embedding', 'resampled', reason)
        return replace(draft, start=start, tiled_rope=kept['tiled_rope'])

    def _draft(
        self,
        clip: Clip,
        arch: str | Mapping[str, Any],
        patch: int | None = None,
        tubelet: int = 2,
    ) -> Settings:
        """Settings of an encoder without a schedule; patches that leave no grid become smaller."""
        shape = resolve_arch(arch if isinstance(arch, str) else dict(arch))
        width, size = shape['embed_dims'], size_name(shape)
        if size not in ARCHITECTURES:
            size = 'tiny' if width < NARROW else 'large'
        most = _PIXELS_ON_CPU if self.measured else _PIXELS
        pixels = max(32, min(most, int(self.found.quantile('side', 0.25)) // 32 * 32))
        if patch is None or pixels // patch < 4:
            patch = 16 if pixels >= 128 or (pixels == 64 and size == 'tiny') else 8
        grid = pixels // patch
        ready = all(path.is_file() for path in _WEIGHTS) and (patch, tubelet) == (16, 2)
        span = clip.num_frames / clip.fps
        return Settings(
            name=self.name,
            folder=self.found.folder,
            size=size,
            arch=size if shape == ARCHITECTURES.get(size) else shape,
            width=width,
            heads=shape['num_heads'],
            img_size=grid * patch,
            patch_size=patch,
            tubelet_size=tubelet,
            fps=clip.fps,
            num_frames=clip.num_frames,
            masks=PAPER_MASKS if grid >= 6 else (),
            queries='hidden' if grid >= 12 else 'all',
            stages=published_stages(clip.num_frames, clip.longest),
            pictures=self._share_of_pictures(clip.different),
            workers=1,
            vavae=ready and size != 'tiny',
            on_cpu=self.measured,
            interval=1000,
            segments=2 if self.found.quantile('seconds', 0.5) > 2 * span else 1,
        )

    def _share_of_pictures(self, clips: int) -> float:
        count = self.found.pictures
        return round(min(0.25, count / (count + clips)), 2)

    def _largest(self, clip: Clip, hours: float) -> Settings:
        """The largest encoder that fits, and that the hours and the videos are worth."""
        for size, (wanted, different) in WORTH.items():
            draft = self._draft(clip, size)
            passing = hours * 3600 / self._time(draft)[0]
            if passing >= wanted and clip.different >= different and min(self._room(draft)) > 0:
                break
        reason = f'about {passing / 1e6:.3g}M clips pass, {clip.different:,} different ones'
        self._say('size', size, f'{reason}; larger ones want more of both, or memory')
        return draft

    # -- time and memory ----------------------------------------------------------------------

    def _time(self, draft: Settings) -> list[float]:
        """Seconds per clip of each stage."""
        key = str(draft.arch)
        if key not in self._seconds:
            config = config_of(pretrain_text(draft))
            if self.measured:
                pairs = zip(draft.stages, self._fitting(draft), strict=True)
                sized = [replace(s, batch_size=n, micro_batch_size=n) for s, n in pairs]
                self._seconds[key] = timed_seconds_per_clip(config, sized)
            else:
                self._seconds[key] = seconds_per_clip(config, draft.stages, self.machine)
        return self._seconds[key]

    def _room(self, draft: Settings) -> list[int]:
        """Clips of each stage that fit at once; 0 where not even one does."""
        key = str(draft.arch)
        if key not in self._together:
            config = config_of(pretrain_text(draft))
            self._together[key] = clips_at_once(config, draft.stages, self.machine)
        return self._together[key]

    def _fitting(self, draft: Settings) -> list[int]:
        """Clips of each stage that one process takes at once."""
        if min(found := self._room(draft)) < 1:
            raise ValueError(
                f'{size_name(draft.arch)} at {draft.img_size} px and '
                f'{draft.stages[-1].num_frames} frames does not fit {self.machine.name} with '
                'a single clip: take a smaller --size or more --gpu-memory'
            )
        most = _MOST_ON_CPU if self.measured else _MOST
        return [min(most, count) for count in found]

    def _workers(self, draft: Settings, fitted: FittedSchedule) -> int:
        """Loader processes that keep up."""
        if self.measured:
            self._say('workers', 1, 'the training itself needs the processor; timed with one')
            return 1
        if not self._decoding:
            config = config_of(pretrain_text(draft))
            self._decoding[draft.folder] = decoding_seconds(config, draft.num_frames)
        spent, world = self._decoding[draft.folder], self.machine.world_size
        needed = 1.25 * spent * max(1 / t for t in fitted.seconds) / world
        workers = max(2, min(16, int(needed) + 1))
        reason = f'a clip takes {1e3 * spent:.0f} ms of a core here: {needed:.2g} cores keep up'
        if needed > 16:
            reason += ', more than a process should start: reading sets the pace'
        self._say('workers', f'{workers} per process', reason)
        return workers


def size_name(arch: str | Mapping[str, Any]) -> str:
    """Name of an architecture, or what it is."""
    if isinstance(arch, str):
        return arch
    names = [name for name, known in ARCHITECTURES.items() if known == dict(arch)]
    return names[0] if names else f'{arch["depth"]} blocks of width {arch["embed_dims"]}'


def render(now: Proposal, later: Proposal | None) -> Table:
    """Every choice, why, and what another number of hours would change.

    Args:
        now: what is proposed.
        later: with twice the hours; None leaves the column out.
    """
    view = Table(title='proposed', title_justify='left')
    for name in ('choice', 'value', 'because', *(['twice the hours'] if later else [])):
        view.add_column(name, overflow='fold')
    others = {choice.name: choice.value for choice in later.choices} if later else {}
    for choice in now.choices:
        other = others.get(choice.name, choice.value)
        cells = ['' if other == choice.value else other] if later else []
        view.add_row(choice.name, choice.value, choice.reason, *cells)
    return view
