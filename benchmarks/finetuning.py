"""What pretraining is worth to few labels: fine-tuning from it, and training from scratch."""

from __future__ import annotations

import copy
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from benchmarks.report import Report
from nextvid_mm.compare.finetuning import finetune
from nextvid_mm.datasets.video.files import format_line, read_list
from nextvid_mm.demo.run import probe_settings
from nextvid_mm.engine.probe import fit_probe
from nextvid_mm.engine.probe.features import cached_dataset, innermost_dataset
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.evaluation.representation import knn_accuracy
from nextvid_mm.files import write_text
from nextvid_mm.models.checkpoints import open_encoder
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import SCOPE

NEIGHBOURS = 10
_CLIPS_PER_PASS = 50


class LabelStudy:
    """One comparison: every way with every number of labels and every seed, a file for each.

    A seed decides which videos are labelled (fewer labels are some of more), the order of samples,
    and all new weights. Each seed has a pretraining of its own.

    Args:
        finetune: config of the fine-tuning; the same for both starts but for ``init_cfg``.
        probe: config of the frozen probe, with the same validation list.
        encoders: checkpoint of each seed, 0, 1, ...
        source: list of labelled videos to choose from, of the configs' training folder.
        work_dir: where results go; what is there is not run again.
        steps: of fine-tuning, whatever the number of labels.
    """

    def __init__(
        self,
        finetune: Config,
        probe: Config,
        encoders: Sequence[str],
        source: str | Path,
        work_dir: str | Path,
        steps: int = 200,
    ):
        self.configs = dict(finetune=finetune, probe=probe_settings(probe))
        self.encoders, self.source, self.steps = list(encoders), Path(source), steps
        self.work_dir = Path(work_dir)
        self._clips: dict[str, tuple[Tensor, Tensor]] = {}

    def cell(self, way: str, labels: int, seed: int) -> dict[str, Any]:
        """Result of a cell: ``top1`` (%), ``seconds`` and how it was made.

        Raises:
            ValueError: if the folder holds the result of other settings.
        """
        settings = dict(
            way=way,
            labels=labels,
            seed=seed,
            encoder=None if way == 'from scratch' else self.encoders[seed],
            steps=self.steps if way in ('fine-tuned', 'from scratch') else None,
        )
        file = self.work_dir / f'{way.replace(" ", "-")}_{labels}_{seed}.json'
        if file.is_file():
            found = json.loads(file.read_text())
            if {key: found[key] for key in settings} != settings:
                raise ValueError(
                    f'{file} is the result of other settings; asked for is {settings}: use another '
                    '--work-dir'
                )
            return found
        start = time.perf_counter()
        top1 = WAYS[way](self, labels, seed)
        record = settings | dict(top1=top1, seconds=time.perf_counter() - start)
        write_text(file, json.dumps(record, indent=2) + '\n')
        return record

    def labelled_list(self, labels: int, seed: int) -> Path:
        """Write the list of ``labels`` videos of each class.

        Raises:
            ValueError: if a class has fewer.
        """
        classes = defaultdict(list)
        for entry in read_list(self.source):
            classes[entry.label].append(entry.path)
        lines, rng = [], np.random.default_rng(seed)
        for label, paths in sorted(classes.items()):
            if len(paths) < labels:
                raise ValueError(
                    f'{self.source}: label {label} has {len(paths)} videos, {labels} are asked for'
                )
            lines += [format_line(path, label) for path in rng.permutation(paths)[:labels].tolist()]
        path = self.work_dir / f'list_{labels}_{seed}.txt'
        write_text(path, ''.join(f'{line}\n' for line in lines))
        return path

    def config(self, kind: str, labels: int, seed: int) -> Config:
        """A config that trains on the chosen labels."""
        config = copy.deepcopy(self.configs[kind])
        chosen = str(self.labelled_list(labels, seed))
        innermost_dataset(config.train_dataloader.dataset).ann_file = chosen
        return config

    def finetune(self, labels: int, seed: int, encoder: str | None) -> float:
        """Top-1 on validation (%) after training everything; without ``encoder`` from scratch."""
        config = self.config('finetune', labels, seed)
        loader, before = config.train_dataloader, config.train_cfg.max_epochs
        count = len(read_list(innermost_dataset(loader.dataset).ann_file))
        epochs = max(1, round(self.steps / math.ceil(count / loader.batch_size)))
        config.train_cfg.update(max_epochs=epochs, val_interval=epochs)
        for schedule in config.param_scheduler:
            ends = ('begin', 'end')
            schedule.update({k: schedule[k] * epochs / before for k in ends if k in schedule})
        name = f'{"scratch" if encoder is None else "finetuned"}_{labels}_{seed}'
        return finetune(config, encoder, None, seed, self.work_dir / name)

    def probe(self, labels: int, seed: int) -> float:
        """Top-1 of the best attentive probe of the grid on the frozen encoder (%)."""
        config = self.config('probe', labels, seed)
        folder = self.work_dir / f'probe_{labels}_{seed}'
        record = fit_probe(config, self.encoders[seed], folder, seed, self.work_dir / 'features')
        return float(record['top1'])

    def neighbours(self, labels: int, seed: int) -> float:
        """Accuracy of the nearest neighbours by mean token of the frozen encoder (%)."""
        encoder, _ = open_encoder(self.encoders[seed])
        config = self.config('probe', labels, seed)
        if 'val' not in self._clips:
            self._clips['val'] = _all_clips(cached_dataset(config, 'val'))
        train, val = _all_clips(cached_dataset(config, 'train')), self._clips['val']
        sets = [(_mean_tokens(encoder.eval(), clips), labels) for clips, labels in (train, val)]
        return knn_accuracy(*sets[0], *sets[1], k=NEIGHBOURS)


WAYS: dict[str, Callable[[LabelStudy, int, int], float]] = {
    'fine-tuned': lambda study, labels, seed: study.finetune(labels, seed, study.encoders[seed]),
    'from scratch': lambda study, labels, seed: study.finetune(labels, seed, None),
    'frozen probe': LabelStudy.probe,
    'k-NN': LabelStudy.neighbours,
}


def _all_clips(dataset: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return load_clips(dataset, 1_000_000)


@torch.no_grad()
def _mean_tokens(encoder: Any, clips: Tensor) -> Tensor:
    """Mean tokens ``(n, C)`` of clips ``(n, 3, T, height, width)``, uint8."""
    parts = clips.split(_CLIPS_PER_PASS)
    return torch.cat([encoder.encode(part / 127.5 - 1).mean((1, 2)) for part in parts])


def compare_starts(
    study: LabelStudy, labels: Sequence[int] = (5, 10, 40), ways: Sequence[str] = tuple(WAYS)
) -> Report:
    """Run what is missing of all cells and lay them out.

    Args:
        study: the settings.
        labels: numbers of labelled videos of each class.
        ways: some of ``WAYS``.
    """
    init_default_scope(SCOPE)
    seeds = range(len(study.encoders))
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    with progress_bar('runs') as bar:
        task = bar.add_task('runs', total=len(labels) * len(ways) * len(seeds))
        for seed in seeds:
            for count in labels:
                for way in ways:
                    found.setdefault((count, way), []).append(study.cell(way, count, seed))
                    bar.advance(task)
    report = Report(
        f'top-1 on validation (%), {len(seeds)} seed(s), {study.steps} steps of fine-tuning',
        dict(encoders=study.encoders, steps=study.steps, labels=list(labels)),
        ('labels a class', *ways, 'fine-tuned ahead'),
    )
    for count in labels:
        row: dict[str, Any] = {'labels a class': str(count)}
        top1 = {way: [cell['top1'] for cell in found[count, way]] for way in ways}
        row |= {way: mean_and_spread(values) for way, values in top1.items()}
        if {'fine-tuned', 'from scratch'} <= set(ways):
            pairs = zip(top1['fine-tuned'], top1['from scratch'], strict=True)
            row['fine-tuned ahead'] = mean_and_spread([a - b for a, b in pairs], sign='+')
        report.add(**row, cells=[found[count, way] for way in ways])
    report.notes.append('mean ± standard deviation over seeds: pretraining, labels and weights')
    return report


def mean_and_spread(values: Sequence[float], sign: str = '') -> str:
    """Mean ± sample standard deviation, as text."""
    mean = f'{statistics.mean(values):{sign}.1f}'
    return mean if len(values) < 2 else f'{mean} ± {statistics.stdev(values):.1f}'
