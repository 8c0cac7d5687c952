"""The record of a probe's evaluation: everything needed to read it and to repeat it."""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
from mmaction.evaluation import ConfusionMatrix
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.models.checkpoints.encoder import hash_weights
from nextvid_mm.version import __version__

RESULTS = 'probe_results.json'
PROBE = 'probe.pth'
PICTURE = 'confusion.png'
REPEATED = 'repeated'  # folder beside a record, for an evaluation repeated from it
#: Parts of a record that a repeated evaluation must give again, to the last bit.
MEASURED = (
    'num_samples', 'failed', 'best_member', 'members', 'grid', 'mean_class', 'per_class',
    'confusion_matrix',
)  # fmt: skip
_DISTRIBUTIONS = ('torch', 'torchvision', 'mmengine', 'mmcv-lite', 'mmaction2', 'mmpretrain')
# More classes than this leave no room for a number in a cell or a name on an axis.
_MOST_LABELLED_CLASSES = 40


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    found = dict(nextvid_mm=__version__, python=platform.python_version(), numpy=np.__version__)
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'not installed'
    return found | dict(mmengine=mmengine.__version__)


def make_record(
    details: Mapping[str, Any], model: nn.Module, runner: Runner, split: str, how: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about an evaluation, as plain values.

    Args:
        details: ``ProbeMetric.details``.
        model: the ``ProbeRecognizer``, unwrapped.
        runner: its Runner.
        split: ``val`` or ``test``: which loader of the config was evaluated.
        how: what the checkpoint says about the probe's training.
    """
    best = details['members'][details['best_member']]
    origin = model.origin
    return dict(
        **best['merged'],
        best=best['name'],
        mode=how.get('mode', 'online'),
        split=split,
        checkpoint=how.get('checkpoint'),
        head_sha256=hash_weights(model.cls_head),
        encoder=None if origin is None else origin.as_dict(),
        seeds=dict(training=how.get('seed'), run=runner.seed),
        processes=runner.world_size,
        versions=versions(),
        **details,
        config=runner.cfg.pretty_text,
    )


def write_record(record: Mapping[str, Any], folder: str | Path, class_names: Any = None) -> Path:
    """Write the record and the picture of its confusion matrix; return the record's path."""
    folder = Path(folder)
    text = json.dumps(record, indent=1)
    write_text(folder / RESULTS, text + '\n')
    draw_confusion(record['confusion_matrix'], folder / PICTURE, class_names)
    return folder / RESULTS


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: there is no such results file')
    try:
        record = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    needed = {'config', 'checkpoint', 'split', 'head_sha256', *MEASURED}
    if not isinstance(record, dict) or needed - set(record):
        missing = sorted(needed - set(record)) if isinstance(record, dict) else sorted(needed)
        raise ValueError(f'{path} is not a {RESULTS}: it lacks {missing}')
    return record


def config_of(record: Mapping[str, Any]) -> Config:
    """The complete config the evaluation ran with."""
    return Config.fromstring(record['config'], '.py')


def differences(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Measured parts of two records that are not equal, each as one line."""
    shown = ('num_samples', 'best_member', 'mean_class', 'top1')
    return [
        f'{key}: {record[key]} recorded, {other[key]} now' if key in shown else f'{key} differs'
        for key in (*MEASURED, 'top1', 'head_sha256')
        if record[key] != other[key]
    ]


def save_probe(model: nn.Module, path: str | Path, meta: Mapping[str, Any]) -> None:
    """Write encoder and probes, without optimiser; complete or not at all.

    Args:
        model: the ``ProbeRecognizer``, unwrapped.
        path: the file.
        meta: plain values, among them ``mode`` and ``seed`` of the training.
    """
    with replace_when_complete(path) as temporary:
        torch.save(dict(state_dict=model.state_dict(), meta=dict(meta)), temporary)


def draw_confusion(matrix: Any, path: str | Path, class_names: Any = None) -> None:
    """Draw counts, true classes downwards and predicted ones to the right.

    Args:
        matrix: ``(K, K)`` counts.
        path: PNG file.
        class_names: K names; None for numbers.
    """
    import matplotlib.pyplot as plt

    counts = torch.as_tensor(matrix)
    small = len(counts) <= _MOST_LABELLED_CLASSES
    with plt.rc_context({'backend': 'agg'}):
        figure = ConfusionMatrix.plot(
            counts, include_values=small, classes=class_names if small else None, show=False
        )
        if not small:
            every = range(0, len(counts), max(1, len(counts) // 10))
            figure.axes[0].set(xticks=every, yticks=every, xticklabels=every, yticklabels=every)
        figure.savefig(path, dpi=100, bbox_inches='tight')
        plt.close(figure)
