"""Puts the page together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from nextvid_mm.checks import check_count
from nextvid_mm.engine.probe.features import cached_loader, innermost_dataset
from nextvid_mm.engine.processes import GuardedLoader
from nextvid_mm.files import write_text
from nextvid_mm.inferencers.cost import StreamingCost, measure_rollout, measure_streaming
from nextvid_mm.lettering import lettering
from nextvid_mm.progress import progress_bar, quiet_log
from nextvid_mm.registry import DATASETS, SCOPE

from .learned import class_names, clips_of, load_model, look_at_features, look_at_generation
from .own import SHEET_CLIPS, own_section
from .page import Section, render
from .probes import probes_section
from .run import (
    PROBE_CONFIG,
    RESULTS,
    Run,
    find_masking,
    find_probe_results,
    find_runs,
    load_run,
    probe_config_of,
)
from .sections import (
    curves_section,
    features_section,
    generation_section,
    masks_section,
    published_section,
    results_section,
    setting_section,
    streaming_section,
)

Step = Callable[[str], None]

_PHASES = 7
_MAX_PARAMETERS = 50e6  # of an encoder that is timed on a CPU
_GENERATED_CLIPS = 48
_MAPPED_CLIPS = 48


@lettering()
def write_report(
    work_dir: str | Path,
    output: str | Path | None = None,
    probe_config: Config | None = None,
    videos: Iterable[dict] | None = None,
    stream_frames: int = 200,
    progress: bool = True,
    device: str = 'cpu',
    max_videos: int = 600,
    probe_results: Sequence[str | Path] = (),
) -> Path:
    """Write one HTML file that needs nothing but itself; returns its path.

    Args:
        work_dir: of a training run, or of the demo (with ``seed_*`` folders and ``results.json``).
        output: the file; None for ``report.html`` in the work directory.
        probe_config: labelled videos for feature map, attention and generation; None takes
            ``probe.py`` of the work directory (the demo's), else the run's own videos.
        videos: batches of validation videos of ``probe_config``; None decodes them.
        stream_frames: length of the stream whose cost per frame is measured, in tubelets.
        progress: show a progress bar.
        device: where encoder and decoder run.
        max_videos: most videos that are decoded, an even choice of them.
        probe_results: records of probes to show besides those below the work directory.

    Raises:
        FileNotFoundError: if the work directory holds no logs, or videos or a record are missing.
        ValueError: if a file is no record, ``max_videos`` too small, or the probe for images.
    """
    init_default_scope(SCOPE)
    work_dir = Path(work_dir)
    runs = [load_run(folder) for folder in find_runs(work_dir)]
    probe_config = probe_config or probe_config_of(work_dir)
    with progress_bar('phases', quiet=not progress) as bar:
        task = bar.add_task('report', total=_PHASES)

        def step(name: str) -> None:
            bar.update(task, description=f'report: {name}', advance=1)

        step('logs')
        records = [*find_probe_results(work_dir), *map(Path, probe_results)]
        sections = [*_results(work_dir, probe_config, records), curves_section(runs[0])]
        if masking := find_masking(runs[0].config):
            size = runs[0].config.model.backbone.get('img_size', 256)
            sections.append(masks_section(masking, masking.grid_of((size, size))))
        if runs[0].checkpoint is not None:
            step('model')
            model = load_model(runs[0].config, runs[0].checkpoint, device)
            if probe_config is not None:
                step('videos')
                videos = videos or load_videos(probe_config, max_videos)
            sections += _learned(runs[0], model, probe_config, videos or (), records, step)
            step('streaming')
            sections.append(streaming_section(_streaming(model.backbone, stream_frames)))
        sections += [curves_section(run) for run in runs[1:]]
        sections.append(setting_section(runs[0]))
        step('page')
    target = Path(output) if output else work_dir / 'report.html'
    write_text(target, render(f'NExT-Vid: {work_dir.name}', sections))
    return target


def _results(work_dir: Path, probe_config: Config | None, records: Sequence[Path]) -> list[Section]:
    """The demo's results, or the paper's alone, and those of probes of one's own."""
    own = [probes_section(records)] if records else []
    path = work_dir / RESULTS
    if not path.is_file():
        return [*own, published_section()]
    if probe_config is None:
        raise FileNotFoundError(
            f'{path} is there, but not the probe config its accuracies are of: give it as '
            f'probe_config, or put it beside as {PROBE_CONFIG}'
        )
    results = json.loads(path.read_text(encoding='utf-8'))
    return [results_section(results, int(probe_config.model.cls_head.num_classes)), *own]


def _learned(
    run: Run,
    model: nn.Module,
    probe_config: Config | None,
    videos: Iterable[dict],
    records: Sequence[Path],
    step: Step,
) -> list[Section]:
    """What the model of a run knows of labelled videos, or of the run's own."""
    if probe_config is None:
        if not _has_own_videos(run.config):
            return []
        step('your videos')
        count = _MAPPED_CLIPS if _is_quick(model) else SHEET_CLIPS
        return [own_section(run.config, model, count)]
    step('features')
    seen = look_at_features(model, str(run.checkpoint), probe_config, videos, records)
    step('generation')
    clips, labels = clips_of(model, videos, _GENERATED_CLIPS)
    made = look_at_generation(model, clips, labels, find_masking(run.config))
    rollout = None
    if not isinstance(made, str) and model.neck.rolls_out and _is_quick(model):
        rollout = measure_rollout(model, clips[:1])
    names = class_names(probe_config, max(labels) + 1)
    generated = generation_section(made, names, rollout, run.folder / 'generated.png')
    return [features_section(seen), generated]


def _has_own_videos(config: Config) -> bool:
    loader = config.get('train_dataloader') or {}
    dataset, schedule = loader.get('dataset') or {}, config.get('train_cfg') or {}
    return 'type' in dataset and 'stages' in schedule


def _streaming(backbone: nn.Module, frames: int) -> StreamingCost | str:
    if not backbone.streams:
        return f'An encoder of type {type(backbone).__name__} has no cache: it cannot stream.'
    if not _is_quick(backbone):
        return (
            'Not measured: on a CPU, recomputing a long video with an encoder of this size takes '
            'hours; device (--device) names another one.'
        )
    return measure_streaming(backbone, frames=frames, progress=False)


def _is_quick(model: nn.Module) -> bool:
    parameters = list(model.parameters())
    on_cpu = parameters[0].device.type == 'cpu'
    return not on_cpu or sum(p.numel() for p in parameters) < _MAX_PARAMETERS


def load_videos(config: Config, max_videos: int) -> GuardedLoader:
    """Loader of a probe config's validation videos.

    Videos are decoded as they are asked for: memory holds the loader's batches, not the split. A
    video that takes long, or a worker that hangs, ends as in training and validation.

    Args:
        config: a probe config.
        max_videos: most videos; of a larger split, an even choice.

    Raises:
        FileNotFoundError: if there are no such videos.
        ValueError: if ``max_videos`` is not positive, or the config is for images.
    """
    check_count(max_videos, '--max-videos')
    if config.model.get('static_frames'):
        raise ValueError(
            f'model.static_frames={config.model.static_frames} of the probe config says that its '
            'samples are images: give one with videos, such as configs/probe/ssv2.py'
        )
    chosen = copy.deepcopy(config)
    dataset = chosen.val_dataloader.dataset
    with quiet_log():
        count = len(DATASETS.build(copy.deepcopy(dataset)))
        if count > max_videos:
            order = np.random.default_rng(0).permutation(count)[:max_videos]
            innermost_dataset(dataset).indices = order.tolist()
        return cached_loader(chosen, 'val')
