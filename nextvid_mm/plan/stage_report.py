"""The resolved schedule of a config, as a table to look at before a long run."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from rich.table import Table

from nextvid_mm.engine.stages import Stage, StageBatch, StageTable
from nextvid_mm.registry import MODELS

COLUMNS = (
    'stage', 'steps', 'first step', 'lr', 'flow lr', 'tau', 'EMA', 'frames', 'batch', 'per process',
    'clips', 'tokens',
)  # fmt: skip


def stage_table_of(cfg: Config, where: str) -> StageTable:
    """Return the stage table of a config.

    Raises:
        ValueError: If the config does not train through one; ``where`` names it.
    """
    stages = (cfg.get('train_cfg') or {}).get('stages')
    if stages is None:
        raise ValueError(
            f"{where} has no stage table: it needs train_cfg=dict(type='StageTrainLoop', "
            'stages=[...])'
        )
    return StageTable(stages)


def grid_of_config(backbone: Mapping[str, Any]) -> tuple[int, int]:
    """Patches per frame and video frames per tubelet of an encoder.

    Args:
        backbone: Config of the encoder; what it leaves out is taken from the class's defaults.
    """
    defaults = inspect.signature(MODELS.get(backbone['type'])).parameters
    image, patch, tubelet = (
        backbone.get(key, defaults[key].default)
        for key in ('img_size', 'patch_size', 'tubelet_size')
    )
    return (image // patch) ** 2, tubelet


def tokens_per_clip(backbone: Mapping[str, Any], num_frames: int) -> int:
    """Tokens of an unmasked clip of ``num_frames`` video frames: tubelets times patches."""
    patches, tubelet = grid_of_config(backbone)
    return num_frames // tubelet * patches


def stage_rows(
    table: StageTable, world_size: int, backbone: Mapping[str, Any] | None = None
) -> list[tuple[str, ...]]:
    """One row of text per stage under :data:`COLUMNS`, and one of totals.

    Args:
        table: The stage table.
        world_size: Number of processes.
        backbone: Config of the encoder, to count tokens; None leaves them out.

    Raises:
        ValueError: If the processes cannot reach a stage's global batch.
    """
    rows, clips, tokens = [], 0, 0
    for stage, start, batch in zip(table, table.starts, table.batches(world_size), strict=False):
        seen = stage.steps * stage.batch_size
        read = seen * tokens_per_clip(backbone, stage.num_frames) if backbone else 0
        clips, tokens = clips + seen, tokens + read
        rows.append(_row(stage, start, batch, seen, read))
    blank = ('',) * (len(COLUMNS) - 4)
    total = ('total', f'{table.total_steps:,}', *blank, f'{clips:,}', large_number(tokens))
    return [*rows, total]


def _row(stage: Stage, start: int, batch: StageBatch, clips: int, tokens: int) -> tuple[str, ...]:
    return (
        stage.name,
        f'{stage.steps:,}',
        f'{start + 1:,}',
        _range(stage, 'base'),
        _range(stage, 'flow'),
        str(stage.tau_samples),
        f'{stage.ema_momentum:g}',
        str(stage.num_frames),
        f'{stage.batch_size:,}',
        f'{batch.micro_batch_size} x {batch.accumulation}',
        f'{clips:,}',
        large_number(tokens),
    )


def _range(stage: Stage, group: str) -> str:
    first, last = stage.lr_at(0, group), stage.lr_at(stage.steps - 1, group)
    return f'{first:g}' if first == last else f'{first:g} -> {last:g}'


def large_number(number: int) -> str:
    """Short form of a count: 830.4B."""
    for unit, size in (('T', 10**12), ('B', 10**9), ('M', 10**6)):
        if number >= size:
            return f'{number / size:.1f}{unit}'
    return f'{number:,}' if number else ''


def render(rows: list[tuple[str, ...]], title: str) -> Table:
    """Lay rows out for the terminal."""
    view = Table(title=title)
    for name in COLUMNS:
        view.add_column(name, justify='left' if name == 'stage' else 'right', no_wrap=True)
    for row in rows[:-1]:
        view.add_row(*row)
    view.add_section()
    view.add_row(*rows[-1])
    return view
