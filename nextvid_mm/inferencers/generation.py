"""Pictures and films of what a model generates: masked next frames, and rollouts.

Shape legend: S samples, T video frames, n generated tubelets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.files import save_picture
from nextvid_mm.flow import draw_flow
from nextvid_mm.inferencers.clip_files import Seed, movie, read_seed, write_movie
from nextvid_mm.inferencers.cost import measure_rollout
from nextvid_mm.inferencers.rollout import roll_out
from nextvid_mm.layers import BatchMask
from nextvid_mm.models.checkpoints import Generator
from nextvid_mm.progress import track
from nextvid_mm.visualization.sheets import show_patches, tile_rows

DEFAULT_FRAMES = 16


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        samples: generations per seed; they differ in noise.
        num_steps: solver steps per frame.
        solver: ``euler`` or ``heun``.
        seed: of masks and noise.
        window: tubelets a rollout remembers, None for all.
    """

    samples: int = 4
    num_steps: int = 20
    solver: str = 'euler'
    seed: int = 0
    window: int | None = None

    @property
    def seeds(self) -> list[int]:
        """One for each sample; another ``seed`` shares none of them."""
        return [(self.seed << 16) + number for number in range(self.samples)]

    @property
    def solving(self) -> tuple[list[int], int, str]:
        """Seeds, steps and solver, in the order of ``roll_out``."""
        return self.seeds, self.num_steps, self.solver


@dataclass(frozen=True)
class MaskedGeneration:
    """Generated patches beside the truth.

    Attributes:
        original: ``(3, T, height, width)`` in [-1, 1].
        masked: the same with hidden patches grey.
        generated: ``(S, 3, T, height, width)``; the first tubelet, which nothing precedes, is the
            original.
    """

    original: Tensor
    masked: Tensor
    generated: Tensor


@torch.no_grad()
def generate_masked(generator: Generator, seed: Seed, sampling: Sampling) -> MaskedGeneration:
    """Generate the hidden patches of every frame from visible ones of earlier frames.

    Every tubelet is generated from the true frames before it, under the first masking strategy the
    model was trained with.

    Args:
        generator: the model.
        seed: at least two tubelets; frames beyond the last whole tubelet are left out.
        sampling: how to sample.
    """
    model, clip = generator.model, normalised(generator, seed)
    grid = model.backbone.grid_of(clip)
    if grid.tubelets < 2:
        raise ValueError(
            f'masked generation needs at least 2 tubelets of {model.backbone.tubelet_size} video '
            f'frames, the seed has {clip.shape[2]} frames: lower fps or start'
        )
    if generator.masking is None:
        raise ValueError(f'{generator.path} does not record the masks of its training')
    masking = recorded_masking(generator.masking)
    rng = np.random.default_rng(sampling.seed)
    drawn = masking.sample(masking.grid_of(clip.shape[-2:]), rng)[0]
    visible, hidden = (drawn[name][None].to(clip.device) for name in ('visible', 'hidden'))
    S = sampling.samples
    mask = BatchMask(visible.expand(S, -1), hidden.expand(S, -1))
    shape = (grid.tubelets - 1, 1, hidden.shape[1], model.target_generator.channels)
    clips = clip.expand(S, -1, -1, -1, -1)
    noise = draw_flow(sampling.seeds, shape[:2], shape, like=clips).noise[:, :, 0]
    generated = model.generate(clips, mask, noise, sampling.num_steps, sampling.solver)
    return MaskedGeneration(
        original=clip[0],
        masked=show_patches(clip, visible, model.backbone.patch_size)[0],
        generated=torch.cat([clips[:, :, : model.backbone.tubelet_size], generated], dim=2),
    )


@torch.no_grad()
def continue_clip(
    generator: Generator, seed: Seed, tubelets: int, sampling: Sampling, progress: bool = True
) -> Tensor:
    """Roll out the frames after a seed.

    Args:
        generator: the model.
        seed: what comes before; frames beyond the last whole tubelet are left out.
        tubelets: how many to generate.
        sampling: how to sample.
        progress: show a progress bar.

    Returns:
        ``(S, 3, n * tubelet_size, height, width)`` in [-1, 1], the generated frames only.
    """
    clip = normalised(generator, seed).expand(sampling.samples, -1, -1, -1, -1)
    frames = roll_out(generator.model, clip, tubelets, *sampling.solving, sampling.window)
    return torch.cat(
        list(track(frames, 'generating', 'tubelets', tubelets, quiet=not progress)), dim=2
    )


def recorded_masking(config: Mapping[str, Any]) -> FrameIsolatedMasking:
    """The masks that a checkpoint or a run records, by the config of the transform."""
    # Earlier versions recorded img_size; masks now take it from the frames.
    settings = {k: v for k, v in config.items() if k not in ('type', 'img_size')}
    return FrameIsolatedMasking(**settings)


def normalised(generator: Generator, seed: Seed) -> Tensor:
    """The seed's whole tubelets as the model takes clips, ``(1, 3, T, height, width)``."""
    model = generator.model
    tubelet = model.backbone.tubelet_size
    frames = seed.frames[:, : seed.frames.shape[1] // tubelet * tubelet]
    if not frames.shape[1]:
        raise ValueError(
            f'the seed has {seed.frames.shape[1]} video frames, which is less than a tubelet of '
            f'{tubelet}: lower fps or start'
        )
    device = next(model.parameters()).device
    batch = dict(inputs=[frames[None]], data_samples=None)
    return model.data_preprocessor(batch)['inputs'].flatten(0, 1).to(device)


def write_masked(result: MaskedGeneration, stem: Path, tubelet: int, fps: float) -> list[Path]:
    """Write a sheet (one picture per tubelet), a GIF and an MP4 of masked generation.

    Args:
        result: from ``generate_masked``.
        stem: path without an ending; its folder exists.
        tubelet: video frames per tubelet.
        fps: of the films.
    """
    rows = [('original', result.original), ('masked', result.masked)]
    rows += [(f'generated, sample {n}', clip) for n, clip in enumerate(result.generated)]
    sheet = stem.with_name(f'{stem.name}.png')
    steps = [(caption, clip[:, tubelet::tubelet]) for caption, clip in rows]
    save_picture(tile_rows(steps), sheet)
    panels = [result.original, result.masked, result.generated[0]]
    film = [('original | masked | generated', torch.cat(panels, dim=-1))]
    if len(result.generated) > 1:
        others = list(result.generated[1:4])
        others += [torch.ones_like(result.original)] * (3 - len(others))
        film.append(('further samples', torch.cat(others, dim=-1)))
    return [sheet, *write_movie(stem, movie(film), fps)]


def write_rollout(
    context: Tensor, generated: Tensor, truth: Tensor, stem: Path, tubelet: int, fps: float
) -> list[Path]:
    """Write a sheet (one picture per tubelet), a GIF and an MP4 of a rollout.

    Args:
        context: the seed ``(3, T, height, width)`` in [-1, 1].
        generated: ``(S, 3, n * tubelet, height, width)``.
        truth: what follows the seed in the video ``(3, T_true, height, width)``, T_true may be 0.
        stem: path without an ending; its folder exists.
        tubelet: video frames per tubelet.
        fps: of the films.
    """
    length = generated.shape[2]
    gap = torch.ones_like(context[:, :1])
    missing = gap.expand(-1, length - truth.shape[1], -1, -1)
    futures = [('true continuation', torch.cat([truth, missing], dim=1))] if truth.numel() else []
    futures += [(f'sample {n}', clip) for n, clip in enumerate(generated)]
    seed = [context[:, ::tubelet], gap]
    rows = [(f'seed, then {n}', torch.cat([*seed, f[:, ::tubelet]], dim=1)) for n, f in futures]
    sheet = stem.with_name(f'{stem.name}.png')
    save_picture(tile_rows(rows), sheet)
    film = [(name, torch.cat([context, future], dim=1)) for name, future in futures]
    return [sheet, *write_movie(stem, movie(film), fps)]


def generate_files(
    generator: Generator,
    source: Path,
    folder: Path,
    sampling: Sampling,
    rollout: int | None = None,
    num_frames: int | None = None,
    fps: float | None = None,
    start: float = 0.0,
    compare: bool = False,
) -> list[Path]:
    """From an image or video to a sheet, a GIF and an MP4; prints what had to be adapted.

    Args:
        generator: the model.
        source: image or video.
        folder: where the files go; named after ``source``.
        sampling: how to sample; without a ``window``, a rollout remembers as many tubelets as the
            longest training clips had.
        rollout: video frames to generate after the seed; None for masked generation.
        num_frames: video frames of the seed; None for 16, or those of the longest training clips if
            that is less (1 tubelet for an image that is continued).
        fps: frames taken per second of video; None for the training's.
        start: seconds of video to skip.
        compare: time the rollout with and without the key/value cache, and print both.

    Raises:
        ValueError: if a number is out of range or the seed too short.
    """
    tubelet = generator.model.backbone.tubelet_size
    _check(sampling, rollout, compare, start, dict(frames=num_frames, fps=fps))
    rate = fps or generator.fps
    wanted = num_frames or min(DEFAULT_FRAMES, generator.num_frames or DEFAULT_FRAMES)
    tubelets = -(-(rollout or 0) // tubelet)
    size = generator.model.backbone.img_size
    seed = read_seed(source, wanted + tubelets * tubelet, size, rate, start)
    print(*seed.notes, sep='\n', end='\n' if seed.notes else '')
    if (found := seed.frames.shape[1]) < wanted:
        print(f'{source.name}: {found} of {wanted} frames, it is shorter')
    folder.mkdir(parents=True, exist_ok=True)
    if rollout is None:
        result = generate_masked(generator, seed, sampling)
        return write_masked(result, folder / f'{source.stem}_masked', tubelet, rate)
    wanted = tubelet if seed.static and num_frames is None else wanted
    context = replace(seed, frames=seed.frames[:, :wanted])
    if compare:
        clip = normalised(generator, context).expand(sampling.samples, -1, -1, -1, -1)
        cost = measure_rollout(generator.model, clip, tubelets, *sampling.solving)
        print(f'{cost} Largest difference of a pixel: {cost.difference:.1e}')
    if sampling.window is None and generator.num_frames:
        sampling = replace(sampling, window=generator.num_frames // tubelet)
    generated = continue_clip(generator, context, tubelets, sampling)
    whole = normalised(generator, seed)[0]
    known = wanted // tubelet * tubelet
    truth = whole[:, known:known] if seed.static else whole[:, known : known + generated.shape[2]]
    files = (folder / f'{source.stem}_rollout', tubelet, rate)
    return write_rollout(whole[:, :known], generated, truth, *files)


def _check(
    sampling: Sampling,
    rollout: int | None,
    compare: bool,
    start: float,
    others: Mapping[str, float | None],
) -> None:
    """Raise unless all numbers are in range and belong to what is asked for."""
    positive = dict(rollout=rollout, samples=sampling.samples, window=sampling.window)
    for name, value in (positive | dict(others)).items():
        if value is not None and value <= 0:
            raise ValueError(f'{name}={value} must be larger than 0')
    for name, number in dict(start=start, seed=sampling.seed).items():
        if number < 0:
            raise ValueError(f'{name}={number} must not be below 0')
    if rollout is None and (compare or sampling.window is not None):
        name = 'compare (--compare-cache)' if compare else 'window (--window)'
        raise ValueError(f'{name} is of a rollout: say how long (--rollout), or leave it out')
