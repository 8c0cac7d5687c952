"""What a training run left in its work directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.checkpoints import newest_good
from nextvid_mm.engine.probe.results import REPEATED
from nextvid_mm.engine.probe.results import RESULTS as PROBE_RESULTS
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.inferencers.generation import recorded_masking
from nextvid_mm.models.checkpoints import find_component, read_config, read_file
from nextvid_mm.models.recognizers import ProbeRecognizer
from nextvid_mm.registry import require_registered
from nextvid_mm.visualization.figures import Series

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
    def table(self) -> StageTable | None:
        """Its stage table, if it has one."""
        stages = (self.config.get('train_cfg') or {}).get('stages')
        return StageTable(stages) if stages else None

    @property
    def meta(self) -> dict[str, Any]:
        """What its checkpoint says about itself; empty without one."""
        if self.checkpoint is None:
            return {}
        return read_file(self.checkpoint).get('meta', {})

    @property
    def stages(self) -> list[tuple[str, int, int]]:
        """Name, first and last step of each stage; empty without a stage table."""
        table = self.table
        if table is None:
            return []
        names = [stage.name for stage in table]
        return list(zip(names, table.starts, table.starts[1:], strict=False))


def find_runs(work_dir: Path) -> list[Path]:
    """The runs below a work directory: itself, or its ``seed_*`` folders as the demo leaves them.

    What a probe logged is no run, also if it was trained in the same folder.

    Raises:
        FileNotFoundError: if nothing was logged there, or only a probe's training.
    """
    if not work_dir.is_dir():
        raise FileNotFoundError(f'work directory {work_dir} does not exist')
    folders = [work_dir, *sorted(work_dir.glob('seed_*'))]
    logged = [folder for folder in folders if any(folder.glob('*/vis_data/*.json'))]
    runs = [folder for folder in logged if not all(map(_is_probe, _configs(folder)))]
    if work_dir in runs:
        return [work_dir]
    if runs:
        return runs
    if logged:
        raise FileNotFoundError(
            f'{work_dir} holds the training of a probe and no pretraining: give the work directory '
            f'of its encoder, and its {PROBE_RESULTS} as --probe-results'
        )
    raise FileNotFoundError(
        f'{work_dir} holds no logs: expected */vis_data/scalars.json there, or in seed_* folders '
        'below, as tools/train.py and the demo write them'
    )


def find_probe_results(work_dir: Path) -> list[Path]:
    """Records of probes below a work directory; not those of evaluations repeated from one."""
    found = sorted(work_dir.rglob(PROBE_RESULTS))
    return [path for path in found if path.parent.name != REPEATED]


def _is_probe(config: Config) -> bool:
    kind = str((config.get('model') or {}).get('type'))
    return kind.rpartition('.')[2] == ProbeRecognizer.__name__


def probe_config_of(work_dir: Path) -> Config | None:
    """The probe config that the demo leaves in its work directory; None if there is none.

    Raises:
        ValueError: if it holds code, or what is no registered component.
    """
    path = work_dir / PROBE_CONFIG
    if not path.is_file():
        return None
    config = read_config(path)
    require_registered(config.to_dict(), str(path))
    return config


def find_masking(config: Config) -> FrameIsolatedMasking | None:
    """The masking transform of a training config; None if it trains without one."""
    found = find_component(config.get('train_dataloader'), FrameIsolatedMasking.__name__)
    return None if found is None else recorded_masking(found)


def load_run(folder: Path) -> Run:
    """Read a run.

    Raises:
        FileNotFoundError: if its log or configuration is missing.
    """
    checkpoint, damaged = newest_good(folder, 'iter_{}.pth')
    if checkpoint is None and damaged:
        file, fault = next(iter(damaged.items()))
        read_file(file)  # says what a file is that is none
        raise ValueError(f'{file}: {fault}; remove it to see the run without its model')
    configs = _configs(folder)
    own = [config for config in configs if not _is_probe(config)] or configs
    return Run(folder, read_scalars(folder), own[0], checkpoint)


def _configs(folder: Path) -> list[Config]:
    """Configurations that were started in a work directory, the newest first; data, never run."""
    paths = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime, reverse=True)
    if not paths:
        raise FileNotFoundError(f'{folder} holds no configuration (*.py) of a run')
    return [read_config(path) for path in paths]


def read_scalars(folder: Path) -> dict[str, Series]:
    """Logged quantities of a run by name; where a run was resumed, the later log counts.

    A line that a kill or a full disk has cut is left out.
    """
    values: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record: dict[str, Any] = json.loads(line)
            except json.JSONDecodeError:
                continue
            step = record.get('step')
            for name, value in record.items():
                if name not in _STEP_KEYS and isinstance(value, int | float) and step is not None:
                    values.setdefault(name, {})[step] = value
    return {
        name: Series(sorted(points), [points[step] for step in sorted(points)])
        for name, points in values.items()
    }
