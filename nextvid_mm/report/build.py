"""Puts the page together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.config import Config
from mmengine.registry import init_default_scope

from nextvid_mm.evaluation.streaming_cost import measure_streaming
from nextvid_mm.registry import SCOPE

from .learned import look_into
from .run import Run, find_runs, load_run
from .sections import (
    Section,
    curves_section,
    features_section,
    generation_section,
    generation_table,
    published_section,
    results_section,
    setting_section,
    streaming_section,
)


def write_report(
    work_dir: str | Path,
    output: str | Path | None = None,
    probe_config: Config | None = None,
    stream_frames: int = 200,
) -> Path:
    """Write one HTML file that needs nothing but itself.

    Args:
        work_dir: of a training run, or of the demo (with ``seed_*`` folders and ``results.json``).
        output: the file; None for ``report.html`` in the work directory.
        probe_config: labelled videos for feature map, attention and generation metrics; None
            leaves these out.
        stream_frames: length of the stream whose cost per frame is measured, in tubelets.

    Returns:
        The file.

    Raises:
        FileNotFoundError: if the work directory holds no logs.
    """
    init_default_scope(SCOPE)
    work_dir = Path(work_dir)
    runs = [load_run(folder) for folder in find_runs(work_dir)]
    sections = _results(work_dir, probe_config)
    sections += _sections_of(runs[0], probe_config, stream_frames)
    sections += [curves_section(run) for run in runs[1:]]
    target = Path(output) if output else work_dir / 'report.html'
    target.write_text(render(f'NExT-Vid: {work_dir.name}', sections), encoding='utf-8')
    return target


def render(title: str, sections: Sequence[Section]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader('nextvid_mm.report', '.'), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template('page.html.j2')
    return template.render(title=title, sections=sections, now=datetime.now())


def _results(work_dir: Path, probe_config: Config | None) -> list[Section]:
    path = work_dir / 'results.json'
    if not path.is_file() or probe_config is None:
        return [published_section()]
    results = json.loads(path.read_text(encoding='utf-8'))
    classes = int(probe_config.model.cls_head.num_classes)
    return [results_section(results, classes), published_section()]


def _sections_of(run: Run, probe_config: Config | None, stream_frames: int) -> list[Section]:
    """What can be said of one run; without a checkpoint, its curves and settings."""
    sections = [curves_section(run)]
    if run.checkpoint is None:
        return [*sections, setting_section(run, {})]
    if probe_config is not None:
        sections += _learned_sections(run, run.checkpoint, probe_config, stream_frames)
    saved: dict[str, Any] = torch.load(
        run.checkpoint, map_location='cpu', weights_only=True, mmap=True
    )
    return [*sections, setting_section(run, saved.get('meta', {}))]


def _learned_sections(
    run: Run, checkpoint: Path, probe_config: Config, stream_frames: int
) -> list[Section]:
    insight = look_into(run.config, checkpoint, probe_config)
    generation = generation_section(insight.generation, run.folder / 'generated.png')
    if insight.generation is not None and insight.generation.by_label:
        table = generation_table(insight.generation, insight.names)
        generation = Section(
            generation.title, generation.text, [*generation.tables, table], generation.pictures
        )
    cost = measure_streaming(insight.model.backbone, frames=stream_frames, progress=False)
    return [features_section(insight), generation, streaming_section(cost)]
