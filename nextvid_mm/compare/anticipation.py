"""Recognition before a clip is over, or before an action begins: accuracy against what was seen.

Features are of the past only. A causal encoder gives those of every prefix in one pass, or frame by
frame in a stream, and one of images frame by frame; any other is run again on every prefix.

Shape legend: B clips, T tubelets, N tokens per tubelet, C channels.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from nextvid_mm.engine.probe.features import cached_dataset, cached_loader, with_pipeline
from nextvid_mm.evaluation.representation import linear_accuracy
from nextvid_mm.files import save_picture, write_text
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import DATASETS

SHARES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
_REPEATS = 3


@dataclass(frozen=True)
class Curve:
    """What an encoder knows how early.

    Attributes:
        encoder: name of the row.
        data: name of the data set.
        causal: whether one pass, or a stream, serves all prefixes.
        shares: of the clip that has been seen, %, rounded to whole tubelets.
        top1: of a linear probe on the mean token of the prefix, fitted for each share, %.
        milliseconds: per new frame: a push into a stream, the frame alone, or the prefix encoded
            again, averaged over the clip; the fastest of three.
        leads: seconds from the end of what has been seen to the begin of the action, at least;
            None where the clip is the action itself.
        left_out: samples that were not read, training and validation.
    """

    encoder: str
    data: str
    causal: bool
    shares: list[float]
    top1: list[float]
    milliseconds: float
    leads: list[float] | None = None
    left_out: int = 0


def tubelets_seen(shares: Sequence[float], total: int) -> list[int]:
    """Tubelets of every share of a clip, at least one, each number once.

    Raises:
        ValueError: if a share is outside (0, 100].
    """
    if wrong := [share for share in shares if not 0 < share <= 100]:
        raise ValueError(f'--anticipation {wrong[0]:g} is no share of a clip above 0 up to 100 %')
    return sorted({max(1, round(total * share / 100)) for share in shares})


def before_actions(config: Config) -> tuple[Config, float]:
    """A probe config whose clips end where the actions of its lists begin; its frames a second.

    Samples with less past than a clip is long are marked as not read.

    Args:
        config: of lists with the second at which each action begins, and clips at a true rate.

    Raises:
        ValueError: if it has no such clips or lists.
    """
    config = copy.deepcopy(config)
    dataset = config.val_dataloader.dataset
    pipeline = with_pipeline(dataset).pipeline
    clips = [step for step in pipeline if str(step.type).endswith('SampleClipByTime')]
    fps = dataset.get('fps') or (clips[0].get('fps') if clips else None)
    if not (clips and fps and clips[0].get('num_frames')):
        raise ValueError(
            '--lead-times needs clips of a known length in seconds: give the pipeline '
            'SampleClipByTime with fps and num_frames'
        )
    for split in ('train', 'val'):
        inner = DATASETS.build(cached_dataset(config, split)).inner
        if inner.get_data_info(0).get('segment') is None:
            raise ValueError(
                f'{inner.ann_file} does not say when actions begin: --lead-times needs tables '
                '(.csv, .tsv, .parquet) with a column start, in seconds'
            )
    before = dict(type='nextvid_mm.BeforeAction', seconds=clips[0].num_frames / fps)
    with_pipeline(dataset).pipeline = [before, *pipeline]
    config.train_dataloader.dataset.test_mode = True  # leave out, do not replace
    return config, float(fps)


def tubelets_before(leads: Sequence[float], total: int, fps: float, tubelet_size: int) -> list[int]:
    """Whole tubelets of a clip that are over each of some seconds before its end.

    Args:
        leads: seconds.
        total: tubelets of the clip.
        fps: video frames a second.
        tubelet_size: video frames per tubelet.

    Raises:
        ValueError: if a lead time is negative, or nothing has been seen so early.
    """
    span = total * tubelet_size / fps
    seen = [math.floor((span - lead) * fps / tubelet_size + 1e-6) for lead in leads]
    for lead, count in zip(leads, seen, strict=True):
        if lead < 0 or count < 1:
            raise ValueError(
                f'--lead-times {lead:g}: clips of {span:g} s show from 0 to '
                f'{span - tubelet_size / fps:g} s before the action; take longer clips '
                '(num_frames) for more'
            )
    return seen


@torch.no_grad()
def prefix_features(model: Any, clips: Tensor, seen: Sequence[int]) -> list[Tensor]:
    """Mean tokens ``(B, C)`` of the prefixes of clips.

    Args:
        model: a ``ProbeRecognizer``.
        clips: ``(B, 3, T_video, height, width)``, normalised.
        seen: tubelets of each prefix.
    """
    encoder, layers = model.backbone, len(model.layers)
    if not encoder.causal:
        size = encoder.tubelet_size
        return [model.encode(clips[:, :, : count * size]).float().mean(1) for count in seen]
    total = clips.shape[2] // encoder.tubelet_size
    tokens = model.encode(clips).float().unflatten(1, (layers, total, -1))
    return [tokens[:, :, :count].mean((1, 2, 3)) for count in seen]


def anticipate(
    name: str,
    data: str,
    config: Config,
    model: Any,
    shares: Sequence[float],
    device: str,
    leads: Sequence[float] | None = None,
) -> Curve:
    """The curve of an encoder.

    Args:
        name: of the encoder.
        data: name of the data set.
        config: a probe config with one view and one segment.
        model: a ``ProbeRecognizer`` with its encoder in place.
        shares: of the clip, %.
        device: where the encoder runs.
        leads: seconds before the actions, in place of ``shares``.

    Raises:
        ValueError: if clips have several segments: there is no order of time in them.
    """
    flag = '--anticipation' if leads is None else '--lead-times'
    if model.num_segments != 1:
        raise ValueError(
            f'{flag} needs one clip for each video; {data} has model.num_segments='
            f'{model.num_segments}: give a config with model.num_segments=1 and num_clips=1 in its '
            'pipelines'
        )
    model, fps = model.to(device).eval(), 0.0
    if leads is not None:
        leads = sorted(set(leads), reverse=True)
        config, fps = before_actions(config)
    train, val = (_read(config, split, model, shares, leads, fps) for split in ('train', 'val'))
    top1 = [
        linear_accuracy(x, train.labels, y, val.labels)
        for x, y in zip(train.features, val.features, strict=True)
    ]
    total = val.clip.shape[2] // model.backbone.tubelet_size
    reached = [100 * count / total for count in val.seen]
    cost, causal = milliseconds_per_frame(model, val.clip), model.backbone.causal
    asked = None if leads is None else list(leads)
    left_out = train.left_out + val.left_out
    return Curve(name, data, causal, reached, top1, cost, asked, left_out)


@dataclass(frozen=True)
class _Prefixes:
    """Features ``(n, C)`` of each prefix, ``seen`` tubelets long; labels, and one clip."""

    features: list[Tensor]
    labels: Tensor
    seen: list[int]
    clip: Tensor
    left_out: int


def _read(
    config: Config,
    split: str,
    model: Any,
    shares: Sequence[float],
    leads: Sequence[float] | None,
    fps: float,
) -> _Prefixes:
    """Encode the prefixes of a split; what could not be read is left out."""
    size, loader = model.backbone.tubelet_size, cached_loader(config, split)
    parts: list[list[Tensor]] = []
    labels: list[int] = []
    clip, seen = torch.empty(0), []
    with progress_bar('samples') as bar:
        task = bar.add_task(f'prefixes, {split}', total=len(loader.dataset))
        for batch in loader:
            inputs = model.data_preprocessor(batch, training=False)['inputs'][:, 0]
            clip, total = inputs[:1], inputs.shape[2] // size
            seen = tubelets_seen(shares, total)
            if leads is not None:
                seen = tubelets_before(leads, total, fps, size)
            there = [n for n, s in enumerate(batch['data_samples']) if s.get('failure') is None]
            parts.append([part[there].cpu() for part in prefix_features(model, inputs, seen)])
            labels += [int(batch['data_samples'][n].gt_label) for n in there]
            bar.advance(task, len(inputs))
    features = [torch.cat(rows) for rows in zip(*parts, strict=True)]
    left_out = len(loader.dataset) - len(labels)
    return _Prefixes(features, torch.tensor(labels), seen, clip, left_out)


@torch.no_grad()
def milliseconds_per_frame(model: Any, clip: Tensor) -> float:
    """Time to bring features up to date with a new frame, averaged over a clip.

    Args:
        model: a ``ProbeRecognizer``.
        clip: ``(1, 3, T_video, height, width)``, normalised.
    """
    encoder, size = model.backbone, model.backbone.tubelet_size
    total = clip.shape[2] // size
    times = []
    for _ in range(_REPEATS):
        stream = StreamingEncoder(encoder, window=total) if encoder.streams else None
        _wait(clip)
        start = time.perf_counter()
        for count in range(1, total + 1):
            new = clip[:, :, (count - 1) * size : count * size]
            if stream is not None:
                stream.push(new)
            else:
                model.encode(new if encoder.per_frame else clip[:, :, : count * size])
        _wait(clip)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / (total * size)


def _wait(clip: Tensor) -> None:
    if clip.is_cuda:
        torch.cuda.synchronize(clip.device)


def write_curves(
    curves: Sequence[Curve], folder: Path, stem: str = 'anticipation'
) -> dict[str, Path]:
    """Write ``STEM.json`` and ``STEM.png``: accuracy against what was seen, and cost."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    paths = {ending: folder / f'{stem}.{ending}' for ending in ('json', 'png')}
    write_text(paths['json'], json.dumps([asdict(curve) for curve in curves], indent=1) + '\n')
    figure = Figure(figsize=(9, 3.6), layout='constrained')
    early, cost = figure.subplots(1, 2, sharey=True)
    for curve in curves:
        name = f'{curve.encoder}, {curve.data}'
        style: Mapping[str, Any] = dict(marker='o', linestyle='-' if curve.causal else '--')
        early.plot(curve.leads or curve.shares, curve.top1, label=name, **style)
        cost.plot([curve.milliseconds], [curve.top1[-1]], 'o' if curve.causal else 's', label=name)
    early.set(xlabel='share of the clip seen (%)', ylabel='linear probe, top-1 (%)')
    if curves[0].leads is not None:
        early.set(xlabel='seconds before the action')
        early.invert_xaxis()
    cost.set(xlabel='ms per new frame', xscale='log', title='all seen; squares: run again')
    cost.xaxis.set_major_formatter(LogFormatter())  # 20, not 2 x 10^1
    cost.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    early.legend(fontsize=7)
    save_picture(figure, paths['png'], dpi=120)
    return paths
