"""What a training run left in its work directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.checkpoint_files import newest_good
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.visualization.curves import Series

RESULTS = 'results.json'  # the demo's accuracies, in its work directory
PROBE_CONFIG = 'probe.py'  # and the config of the probes they are of
_STEP_KEYS = ('step', 'iter', 'epoch')


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        folder: its work directory.
        scalars: logged quantities by name.
        config: the configuration it ran with.
        checkpoint: the newest undamaged checkpoint; None if there is none.
    """

    folder: Path
    scalars: dict[str, Series]
    config: Config
    checkpoint: Path | None

    @property
    def stages(self) -> list[tuple[str, int, int]]:
        """Name, first and last step of each stage; empty without a stage table."""
        stages = (self.config.get('train_cfg') or {}).get('stages')
        if not stages:
            return []
        table = StageTable(stages)
        return [
            (stage.name, first, last)
            for stage, first, last in zip(table, table.starts, table.starts[1:], strict=False)
        ]


def find_runs(work_dir: Path) -> list[Path]:
    """The runs below a work directory: itself, or its ``seed_*`` folders as the demo leaves them.

    Raises:
        FileNotFoundError: if nothing was logged there.
    """
    if not work_dir.is_dir():
        raise FileNotFoundError(f'work directory {work_dir} does not exist')
    for runs in ([work_dir], sorted(work_dir.glob('seed_*'))):
        logged = [run for run in runs if any(run.glob('*/vis_data/*.json'))]
        if logged:
            return logged
    raise FileNotFoundError(
        f'{work_dir} holds no logs: expected */vis_data/scalars.json there, or in seed_* folders '
        'below, as tools/train.py and the demo write them'
    )


def probe_config_of(work_dir: Path) -> Config | None:
    """The probe config that the demo leaves in its work directory; None if there is none."""
    path = work_dir / PROBE_CONFIG
    return Config.fromfile(path) if path.is_file() else None


def find_masking(config: Config) -> FrameIsolatedMasking | None:
    """The masking transform of a training config; None if it trains without one."""
    for entry in _pipelines(config.get('train_dataloader') or {}):
        if str(entry.get('type')).rpartition('.')[2] == FrameIsolatedMasking.__name__:
            return FrameIsolatedMasking(**{k: v for k, v in entry.items() if k != 'type'})
    return None


def _pipelines(config: Any) -> Iterator[dict]:
    """Every dict inside a nested config."""
    if isinstance(config, dict):
        yield config
        config = config.values()
    elif not isinstance(config, list | tuple):
        return
    for entry in config:
        yield from _pipelines(entry)


def load_run(folder: Path) -> Run:
    """Read a run.

    Raises:
        FileNotFoundError: if its log or configuration is missing.
    """
    configs = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise FileNotFoundError(f'{folder} holds no configuration (*.py) of a run')
    checkpoint, _ = newest_good(folder, 'iter_{}.pth')
    return Run(folder, read_scalars(folder), Config.fromfile(configs[-1]), checkpoint)


def read_scalars(folder: Path) -> dict[str, Series]:
    """Logged quantities of a run by name; where a run was resumed, the later log counts."""
    values: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            record: dict[str, Any] = json.loads(line)
            step = record.get('step')
            for name, value in record.items():
                if name not in _STEP_KEYS and isinstance(value, int | float) and step is not None:
                    values.setdefault(name, {})[step] = value
    return {
        name: Series(sorted(points), [points[step] for step in sorted(points)])
        for name, points in values.items()
    }
