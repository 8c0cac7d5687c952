"""Puts the page together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from nextvid_mm.evaluation.protocol import load_batches, quiet
from nextvid_mm.evaluation.streaming_cost import StreamingCost, measure_streaming
from nextvid_mm.registry import DATASETS, SCOPE

from .learned import (
    class_names,
    clips_of,
    load_model,
    look_at_features,
    look_at_generation,
    measure_rollout,
)
from .learned_sections import features_section, generation_section, streaming_section
from .page import Section, render
from .run import PROBE_CONFIG, RESULTS, Run, find_masking, find_runs, load_run, probe_config_of
from .sections import (
    curves_section,
    masks_section,
    published_section,
    results_section,
    setting_section,
)

Batches = tuple[list[dict], list[dict]]
Step = Callable[[str], None]

_PHASES = 7
_MAX_VIDEOS = 2000  # of a split: they are decoded into memory
_MAX_PARAMETERS = 50e6  # of an encoder that is timed on a CPU
_GENERATED_CLIPS = 48


def write_report(
    work_dir: str | Path,
    output: str | Path | None = None,
    probe_config: Config | None = None,
    batches: Batches | None = None,
    stream_frames: int = 200,
    progress: bool = True,
) -> Path:
    """Write one HTML file that needs nothing but itself.

    Args:
        work_dir: of a training run, or of the demo (with ``seed_*`` folders and ``results.json``).
        output: the file; None for ``report.html`` in the work directory.
        probe_config: labelled videos for feature map, attention and generation; None takes
            ``probe.py`` of the work directory, where the demo leaves its own, and does without
            if there is none.
        batches: decoded videos of ``probe_config``; None decodes them, at most 2,000 of a split.
        stream_frames: length of the stream whose cost per frame is measured, in tubelets.
        progress: show a progress bar.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the work directory holds no logs, or the probe's videos are missing.
    """
    init_default_scope(SCOPE)
    work_dir = Path(work_dir)
    runs = [load_run(folder) for folder in find_runs(work_dir)]
    probe_config = probe_config or probe_config_of(work_dir)
    with _progress(progress) as step:
        step('logs')
        sections = [_results(work_dir, probe_config), curves_section(runs[0])]
        if masking := find_masking(runs[0].config):
            sections.append(masks_section(masking))
        sections += _learned(runs[0], probe_config, batches, stream_frames, step)
        sections += [curves_section(run) for run in runs[1:]]
        sections.append(setting_section(runs[0], _meta(runs[0])))
        step('page')
    target = Path(output) if output else work_dir / 'report.html'
    target.write_text(render(f'NExT-Vid: {work_dir.name}', sections), encoding='utf-8')
    return target


def _results(work_dir: Path, probe_config: Config | None) -> Section:
    path = work_dir / RESULTS
    if not path.is_file():
        return published_section()
    if probe_config is None:
        raise FileNotFoundError(
            f'{path} is there, but not the probe config its accuracies are of: give it as '
            f'probe_config, or put it beside as {PROBE_CONFIG}'
        )
    results = json.loads(path.read_text(encoding='utf-8'))
    return results_section(results, int(probe_config.model.cls_head.num_classes))


def _learned(
    run: Run,
    probe_config: Config | None,
    batches: Batches | None,
    stream_frames: int,
    step: Step,
) -> list[Section]:
    """What the checkpoint of a run knows; nothing if the run left none."""
    if run.checkpoint is None:
        return []
    step('model')
    model = load_model(run.config, run.checkpoint)
    sections: list[Section] = []
    if probe_config is not None:
        step('videos')
        batches = batches or load_some(probe_config)
        step('features')
        insight = look_at_features(model.backbone, run.checkpoint, probe_config, batches)
        step('generation')
        sections += [
            features_section(insight),
            _generation(run, model, probe_config, batches[1]),
        ]
    step('streaming')
    return [*sections, streaming_section(_streaming(model.backbone, stream_frames))]


def _generation(run: Run, model: nn.Module, probe_config: Config, val: list[dict]) -> Section:
    clips = clips_of(model, val, _GENERATED_CLIPS)
    labels = [int(s.gt_label) for batch in val for s in batch['data_samples']][: len(clips)]
    names = class_names(probe_config, max(labels) + 1)
    insight = look_at_generation(model, clips, labels, names, find_masking(run.config))
    if isinstance(insight, str):
        return generation_section(insight)
    rollout = None
    if hasattr(model.neck, 'predict_next') and _is_quick(model):
        rollout = measure_rollout(model, clips[:1])
    return generation_section(insight, rollout, run.folder / 'generated.png')


def _streaming(backbone: nn.Module, frames: int) -> StreamingCost | str:
    if not hasattr(backbone, 'make_cache'):
        return f'An encoder of type {type(backbone).__name__} has no cache: it cannot stream.'
    if not _is_quick(backbone):
        return (
            'Not measured: on a CPU, recomputing a long video with an encoder of this size takes '
            'hours. nextvid_mm.evaluation.streaming_cost measures it on any device.'
        )
    return measure_streaming(backbone, frames=frames, progress=False)


def _is_quick(model: nn.Module) -> bool:
    return sum(p.numel() for p in model.parameters()) < _MAX_PARAMETERS


def load_some(config: Config) -> Batches:
    """Decode the videos of a probe config; of a large split, an even choice of them.

    Raises:
        FileNotFoundError: if there are no such videos.
    """
    chosen = copy.deepcopy(config)
    for split in ('train', 'val'):
        dataset = chosen[f'{split}_dataloader'].dataset
        with quiet():
            count = len(DATASETS.build(copy.deepcopy(dataset)))
        if count > _MAX_VIDEOS:
            order = np.random.default_rng(0).permutation(count)[:_MAX_VIDEOS]
            dataset.indices = sorted(order.tolist())
    with quiet():
        return load_batches(chosen)


def _meta(run: Run) -> dict[str, Any]:
    """What a checkpoint says about itself."""
    if run.checkpoint is None:
        return {}
    saved = torch.load(run.checkpoint, map_location='cpu', weights_only=True, mmap=True)
    return saved.get('meta', {})


@contextmanager
def _progress(show: bool) -> Iterator[Step]:
    """Yield a function that names the next phase."""
    columns: Sequence = (
        TextColumn('report: {task.description}'),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not show, transient=True) as bar:
        task = bar.add_task('start', total=_PHASES)

        def step(name: str) -> None:
            bar.update(task, description=name, advance=1)

        yield step
