"""What a whole run adds up to: clips, tokens, and what each source of its mixture gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.table import Table

from nextvid_mm.datasets.list_index import open_list
from nextvid_mm.datasets.mixture_schedule import MixtureSchedule
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.activations import visible_patches
from nextvid_mm.plan.stage_report import grid_of_config, large_number

# A source with one of these gives images, which become clips of equal frames.
_STATIC = ('ImageToClip', 'RepeatFrames')


@dataclass(frozen=True)
class SourceSum:
    """One source over a run.

    Attributes:
        name: of the source.
        clips: drawn from it, exactly.
        share: of all clips.
        static: its clips are repeated images.
        items: it holds; None where its list is not there, or none of ours, to be counted.
    """

    name: str
    clips: int
    share: float
    static: bool
    items: int | None


@dataclass(frozen=True)
class RunSums:
    """A run's totals. Tokens are tubelets times patches.

    Attributes:
        steps: optimiser steps.
        clips: clips, short and long.
        unit_frames: video frames of the first stage's clips.
        unit_clips: clips if a longer one counts as the several of ``unit_frames`` it holds.
        tokens: of the unmasked clips.
        encoded: tokens that the encoder of a ``NextVid`` sees, over all masking strategies; the
            last tubelet of a clip is not encoded. 0 for other algorithms.
        predicted: tokens that a ``NextVid`` predicts, over all masking strategies.
        masks: visible and hidden patches of each strategy; empty for other algorithms.
        sources: of the mixture.
    """

    steps: int
    clips: int
    unit_frames: int
    unit_clips: float
    tokens: int
    encoded: int
    predicted: int
    masks: Sequence[tuple[int, int]]
    sources: Sequence[SourceSum]


def run_sums(cfg: Config, table: StageTable) -> RunSums:
    """Add up a config's run.

    Args:
        cfg: a training config with a mixture.
        table: its stages.
    """
    patches, tubelet = grid_of_config(cfg.model.backbone)
    parts = [(s.steps * s.batch_size, s.num_frames) for s in table]
    unit, dataset = table.stages[0].num_frames, cfg.train_dataloader.dataset
    masks, queried = _masks(cfg, patches)
    # Nothing is predicted from the last tubelet or in the first.
    pairs = sum(clips * (frames // tubelet - 1) for clips, frames in parts)
    return RunSums(
        steps=table.total_steps,
        clips=sum(clips for clips, _ in parts),
        unit_frames=unit,
        unit_clips=sum(clips * frames for clips, frames in parts) / unit,
        tokens=sum(clips * (frames // tubelet) * patches for clips, frames in parts),
        encoded=pairs * sum(shown for shown, _ in masks),
        predicted=pairs * queried,
        masks=masks,
        sources=_sources(dataset.sources, (cfg.get('randomness') or {}).get('seed') or 0, table),
    )


def _masks(cfg: Config, patches: int) -> tuple[list[tuple[int, int]], int]:
    """Visible and hidden patches of a ``NextVid``'s strategies, and how many it predicts in all."""
    if not cfg.model.type.endswith('NextVid'):
        return [], 0
    masks = _shown_and_hidden(cfg, patches)
    return masks, sum(queried for _, queried in patches_of_masks(cfg))


def _shown_and_hidden(cfg: Config, patches: int) -> list[tuple[int, int]]:
    side = round(patches**0.5) * cfg.model.backbone.get('patch_size', 16)
    shown = visible_patches(cfg.train_dataloader.dataset.pipeline, side)
    return [(count, patches - count or patches) for count in shown]  # all, without masks


def patches_of_masks(cfg: Config) -> list[tuple[int, int]]:
    """Visible and predicted patches of every strategy of a ``NextVid``'s config."""
    patches, _ = grid_of_config(cfg.model.backbone)
    hidden = cfg.model.get('queries', 'hidden') == 'hidden'
    pairs = _shown_and_hidden(cfg, patches)
    return [(shown, gone if hidden else patches) for shown, gone in pairs]


def _sources(sources: Sequence[Mapping[str, Any]], seed: int, table: StageTable) -> list[SourceSum]:
    names, weights = ([source[key] for source in sources] for key in ('name', 'weight'))
    static = [_is_static(source) for source in sources]
    schedule = MixtureSchedule(names, weights, [1] * len(names), seed, static)
    total = table.samples_before(table.total_steps)
    return [
        SourceSum(name, count, count / total, still, _count_items(source['dataset']))
        for name, count, source, still in zip(
            names, schedule.drawn_before(total), sources, static, strict=True
        )
    ]


def _is_static(source: Mapping[str, Any]) -> bool:
    kinds = [str(step['type']) for step in source['dataset'].get('pipeline') or ()]
    return any(kind.endswith(_STATIC) for kind in kinds)


def _count_items(dataset: Mapping[str, Any]) -> int | None:
    """Entries of a source's list; None without one that is there and can be read."""
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if not path.is_file():
        return None
    try:
        return len(open_list(path, columns=dataset.get('columns')))
    except ValueError:  # other datasets have lists of their own kinds
        return None


def describe(sums: RunSums) -> Iterator[Table | str]:
    """Lay a run's sums out for the terminal."""
    view = Table(title='sources', title_justify='left')
    for name in ('source', 'share', 'clips', 'static', 'items', 'times each'):
        view.add_column(name, justify='left' if name == 'source' else 'right')
    for source in sums.sources:
        items = (f'{source.items:,}', f'{source.clips / source.items:.1f}') if source.items else ()
        static = 'yes' if source.static else ''
        view.add_row(source.name, f'{source.share:.2%}', f'{source.clips:,}', static, *items)
    yield view
    still = sum(source.clips for source in sums.sources if source.static)
    yield (
        f'clips: {sums.clips:,}, static {still:,}; counted in clips of {sums.unit_frames} frames: '
        f'{sums.unit_clips:,.0f}'
    )
    yield f'tokens (tubelets x patches of the unmasked clips): {large_number(sums.tokens)}'
    for number, (shown, hidden) in enumerate(sums.masks):
        yield f'masks of strategy {number}: {shown} patches visible, {hidden} hidden in every clip'
    if sums.masks:
        yield (
            f'tokens through the encoder: {large_number(sums.encoded)}, '
            f'predicted: {large_number(sums.predicted)}'
        )
