"""What an evaluation leaves: a record that can be repeated, the probe, and a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmaction.evaluation import ConfusionMatrix
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from nextvid_mm.engine.probe.metric import ProbeMetric
from nextvid_mm.files import replace_when_complete, save_picture, write_text
from nextvid_mm.layers import check_state
from nextvid_mm.lettering import drawable, lettering
from nextvid_mm.models.checkpoints import config_text, hash_weights, parse_config
from nextvid_mm.registry import HOOKS, unwrap
from nextvid_mm.run_folder import versions

RESULTS = 'probe_results.json'
PROBE = 'probe.pth'
PICTURE = 'confusion.png'
REPEATED = 'repeated'  # folder beside a record, for an evaluation repeated from it
#: Parts of a record that a repeated evaluation must give again, to the last bit.
MEASURED = (
    'num_samples', 'failed', 'best_member', 'members', 'grid', 'mean_class', 'per_class',
    'confusion_matrix',
)  # fmt: skip
# More classes than this leave no room for a number in a cell or a name on an axis.
_MOST_LABELLED_CLASSES = 40


def make_record(
    details: Mapping[str, Any], model: nn.Module, runner: Runner, split: str, how: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about an evaluation, as plain values.

    ``details`` are ``ProbeMetric.details``, ``split`` (``val`` or ``test``) says which loader of
    the config was evaluated, and ``how`` is what the checkpoint says about the probe's training.
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
        config=config_text(runner.cfg),
    )


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
    if missing := needed - set(record if isinstance(record, dict) else ()):
        raise ValueError(f'{path} is not a {RESULTS}: it lacks {sorted(missing)}')
    return record


def config_of(record: Mapping[str, Any], source: str | Path = RESULTS) -> Config:
    """The complete config the evaluation ran with: read as data, never run.

    Raises:
        ValueError: if it holds code.
    """
    return Config(parse_config(record['config'], str(source)))


def checkpoint_of(record: Mapping[str, Any], source: str | Path) -> Path:
    """The record's checkpoint where it says, or beside the record.

    Raises:
        FileNotFoundError: If it is at neither place.
    """
    stated = Path(record['checkpoint'])
    for path in (stated, Path(source).parent / stated.name):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'the checkpoint of {source}, {stated}, does not exist; put it beside the file'
    )


def differences(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Measured parts of two records that are not equal, each as one line."""
    shown = ('num_samples', 'best_member', 'mean_class', 'top1')
    return [
        f'{key}: {record[key]} recorded, {other[key]} now' if key in shown else f'{key} differs'
        for key in (*MEASURED, 'top1', 'head_sha256')
        if record[key] != other[key]
    ]


def _other_length(found: int, classes: int) -> str:
    return (
        f'ProbeHook.class_names has {found} names, the probe tells {classes} classes apart '
        '(model.cls_head.num_classes): give one name for each, in the order of the labels'
    )


def draw_confusion(matrix: Any, path: str | Path, class_names: Any = None) -> None:
    """Draw ``(K, K)`` counts, true classes downwards and predicted ones to the right.

    ``class_names``: K names of any script; None for numbers.

    Raises:
        ValueError: If there are more or fewer names.
    """
    import matplotlib.pyplot as plt

    counts = torch.as_tensor(matrix)
    small = len(counts) <= _MOST_LABELLED_CLASSES
    if class_names is not None:
        if len(class_names) != len(counts):
            raise ValueError(_other_length(len(class_names), len(counts)))
        class_names = [drawable(str(name)) for name in class_names]
    with lettering(), plt.rc_context({'backend': 'agg'}):
        figure = ConfusionMatrix.plot(
            counts, include_values=small, classes=class_names if small else None, show=False
        )
        if not small:
            every = range(0, len(counts), max(1, len(counts) // 10))
            figure.axes[0].set(xticks=every, yticks=every, xticklabels=every, yticklabels=every)
        save_picture(figure, path, dpi=100, bbox_inches='tight')
        plt.close(figure)


def _scored(loop: BaseLoop) -> bool:
    """Whether accuracies are computed: not of data without labels."""
    return any(isinstance(metric, ProbeMetric) for metric in loop.evaluator.metrics)


@HOOKS.register_module()
class ProbeHook(Hook):
    """Checks labels and checkpoints, and writes what an evaluation found.

    After every validation it makes the best probe of the grid the one whose predictions are
    ``pred_score`` and ``pred_label``, and writes to the work directory:

    - ``probe.pth``: encoder and probes, for ``tools/test.py``;
    - ``probe_results.json``: accuracies of all probes per view and merged, accuracy per class,
      encoder hash, config, seeds, versions: enough to repeat the evaluation;
    - ``confusion.png``: of the best probe, true classes downwards.

    A test writes the last two and selects nothing.

    Args:
        class_names: Names of the classes, for the picture; a path reads one per line.

    Raises:
        FileNotFoundError: If ``class_names`` is a path without a file.
    """

    # Before the logger (60), so that files are there when the numbers are read.
    priority = 'NORMAL'

    def __init__(self, class_names: Sequence[str] | str | None = None) -> None:
        if isinstance(class_names, str):
            if not Path(class_names).is_file():
                raise FileNotFoundError(f'ProbeHook.class_names={class_names!r}: no such file')
            class_names = Path(class_names).read_text(encoding='utf-8').splitlines()
        self.class_names = class_names
        self.how: dict[str, Any] = {}

    def before_run(self, runner: Runner) -> None:
        """Look at all labels before anything is computed."""
        num_classes = unwrap(runner.model).cls_head.num_classes
        if self.class_names is not None and len(self.class_names) != num_classes:
            raise ValueError(_other_length(len(self.class_names), num_classes))
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if not isinstance(loop, BaseLoop) or (loop is runner._test_loop and not _scored(loop)):
                continue
            if hasattr(loop.dataloader.dataset, 'check_labels'):
                loop.dataloader.dataset.check_labels(num_classes)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that do not fit; MMEngine would load what does and go on."""
        what = f'load_from={str(runner._load_from)!r}'
        check_state(checkpoint['state_dict'], unwrap(runner.model).state_dict(), what)
        meta = checkpoint.get('meta', {})
        self.how = dict(mode=meta.get('mode', 'online'), seed=meta.get('seed'))
        self.how['checkpoint'] = str(runner._load_from)

    def before_train(self, runner: Runner) -> None:
        """Say which encoder is probed."""
        origin = unwrap(runner.model).origin
        runner.logger.info(f'encoder: {origin.describe()}')
        mode = getattr(runner.train_loop, 'mode', 'online')
        if runner.iter and mode != self.how['mode']:
            raise ValueError(
                f'{self.how["checkpoint"]} was trained on features of mode {self.how["mode"]!r} '
                f'and cannot be resumed with {mode!r}: --cache-features must be as it was'
            )
        self.how = dict(mode=mode, seed=runner.seed)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Write down what the probes are trained on."""
        checkpoint['meta']['mode'] = self.how['mode']

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Select the best probe, then write probe, record and picture."""
        model = unwrap(runner.model)
        model.cls_head.select(int((metrics or {})['probe/best_member']))
        if is_main_process():
            path = Path(runner.work_dir) / PROBE
            meta = dict(mode=self.how['mode'], seed=self.how['seed'])
            with replace_when_complete(path) as temporary:  # without the optimiser
                torch.save(dict(state_dict=model.state_dict(), meta=meta), temporary)
            self._write(runner, runner.val_loop, 'val', dict(self.how, checkpoint=str(path)))
        barrier()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write record and picture, if the data have labels."""
        if is_main_process() and _scored(runner.test_loop):
            self._write(runner, runner.test_loop, 'test', self.how)
        barrier()

    def _write(self, runner: Runner, loop: BaseLoop, split: str, how: Mapping[str, Any]) -> None:
        (metric,) = (m for m in loop.evaluator.metrics if isinstance(m, ProbeMetric))
        record = make_record(metric.details or {}, unwrap(runner.model), runner, split, how)
        path = Path(runner.work_dir) / RESULTS
        write_text(path, json.dumps(record, indent=1) + '\n')
        draw_confusion(record['confusion_matrix'], path.with_name(PICTURE), self.class_names)
        runner.logger.info(
            f'top-1 {record["top1"]:.2f} % over {record["num_samples"]} samples (best of '
            f'{len(record["members"])} probes: {record["best"]}); everything in {path}'
        )
