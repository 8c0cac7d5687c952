"""What happens around the training and evaluation of probes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from nextvid_mm.engine.probe.metric import ProbeMetric
from nextvid_mm.engine.probe.results import PROBE, make_record, save_probe, write_record
from nextvid_mm.layers import check_state
from nextvid_mm.registry import HOOKS, unwrap


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
        num_classes = _unwrap(runner).cls_head.num_classes
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop) and hasattr(loop.dataloader.dataset, 'check_labels'):
                loop.dataloader.dataset.check_labels(num_classes)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that do not fit; MMEngine would load what does and go on."""
        what = f'load_from={str(runner._load_from)!r}'
        check_state(checkpoint['state_dict'], _unwrap(runner).state_dict(), what)
        meta = checkpoint.get('meta', {})
        self.how = dict(
            mode=meta.get('mode', 'online'),
            seed=meta.get('seed'),
            checkpoint=str(runner._load_from),
        )

    def before_train(self, runner: Runner) -> None:
        """Say which encoder is probed."""
        origin = _unwrap(runner).origin
        runner.logger.info(f'encoder: {origin.describe()}')
        self.how = dict(mode='online', seed=runner.seed)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Select the best probe, then write probe, record and picture."""
        model = _unwrap(runner)
        model.cls_head.select(int((metrics or {})['probe/best_member']))
        if is_main_process():
            path = Path(runner.work_dir) / PROBE
            save_probe(model, path, dict(mode=self.how['mode'], seed=self.how['seed']))
            self._write(runner, runner.val_loop, 'val', dict(self.how, checkpoint=str(path)))
        barrier()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write record and picture."""
        if is_main_process():
            self._write(runner, runner.test_loop, 'test', self.how)
        barrier()

    def _write(self, runner: Runner, loop: BaseLoop, split: str, how: Mapping[str, Any]) -> None:
        (metric,) = (m for m in loop.evaluator.metrics if isinstance(m, ProbeMetric))
        record = make_record(metric.details or {}, _unwrap(runner), runner, split, how)
        path = write_record(record, runner.work_dir, self.class_names)
        runner.logger.info(
            f'top-1 {record["top1"]:.2f} % over {record["num_samples"]} samples (best of '
            f'{len(record["members"])} probes: {record["best"]}); everything in {path}'
        )


def _unwrap(runner: Runner) -> nn.Module:
    return unwrap(runner.model)
