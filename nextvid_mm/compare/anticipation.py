"""Recognition before a clip is over: accuracy against the share of it that has been seen.

Features are of the past only. A causal encoder gives those of every prefix in one pass, or frame by
frame in a stream; any other is run again on every prefix.

Shape legend: B clips, T tubelets, N tokens per tubelet, C channels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from nextvid_mm.engine.probe.features import cached_loader
from nextvid_mm.evaluation.representation import linear_accuracy
from nextvid_mm.files import save_picture, write_text
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.progress import progress_bar

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
        milliseconds: per new frame: a push into a stream, or the prefix encoded again, averaged
            over the clip; the fastest of three.
    """

    encoder: str
    data: str
    causal: bool
    shares: list[float]
    top1: list[float]
    milliseconds: float


def tubelets_seen(shares: Sequence[float], total: int) -> list[int]:
    """Tubelets of every share of a clip, at least one, each number once.

    Raises:
        ValueError: if a share is outside (0, 100].
    """
    if wrong := [share for share in shares if not 0 < share <= 100]:
        raise ValueError(f'--anticipation {wrong[0]:g} is no share of a clip above 0 up to 100 %')
    return sorted({max(1, round(total * share / 100)) for share in shares})


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
    name: str, data: str, config: Config, model: Any, shares: Sequence[float], device: str
) -> Curve:
    """The curve of an encoder.

    Args:
        name: of the encoder.
        data: name of the data set.
        config: a probe config with one view and one segment.
        model: a ``ProbeRecognizer`` with its encoder in place.
        shares: of the clip, %.
        device: where the encoder runs.

    Raises:
        ValueError: if clips have several segments: there is no order of time in them.
    """
    if model.num_segments != 1:
        raise ValueError(
            f'--anticipation needs one clip for each video; {data} has model.num_segments='
            f'{model.num_segments}: give a config with model.num_segments=1 and num_clips=1 in its '
            'pipelines'
        )
    model = model.to(device).eval()
    sets, clip = {}, None
    for split in ('train', 'val'):
        loader = cached_loader(config, split)
        parts: list[list[Tensor]] = []
        labels: list[int] = []
        with progress_bar('samples') as bar:
            task = bar.add_task(f'prefixes of {data}, {split}', total=len(loader.dataset))
            for batch in loader:
                inputs = model.data_preprocessor(batch, training=False)['inputs'][:, 0]
                clip = inputs[:1]
                seen = tubelets_seen(shares, inputs.shape[2] // model.backbone.tubelet_size)
                there = [n for n, s in enumerate(batch['data_samples']) if s.get('failure') is None]
                parts.append([part[there].cpu() for part in prefix_features(model, inputs, seen)])
                labels += [int(batch['data_samples'][n].gt_label) for n in there]
                bar.advance(task, len(inputs))
        features = [torch.cat(rows) for rows in zip(*parts, strict=True)]
        sets[split] = features, torch.tensor(labels)
    assert clip is not None
    total = clip.shape[2] // model.backbone.tubelet_size
    top1 = [
        linear_accuracy(train, sets['train'][1], val, sets['val'][1])
        for train, val in zip(sets['train'][0], sets['val'][0], strict=True)
    ]
    reached = [100 * count / total for count in tubelets_seen(shares, total)]
    cost = milliseconds_per_frame(model, clip)
    return Curve(name, data, model.backbone.causal, reached, top1, cost)


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
            if stream is None:
                model.encode(clip[:, :, : count * size])
            else:
                stream.push(clip[:, :, (count - 1) * size : count * size])
        _wait(clip)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / (total * size)


def _wait(clip: Tensor) -> None:
    if clip.is_cuda:
        torch.cuda.synchronize(clip.device)


def write_curves(curves: Sequence[Curve], folder: Path) -> dict[str, Path]:
    """Write ``anticipation.json`` and ``anticipation.png``: accuracy against share, and cost."""
    from matplotlib.figure import Figure

    paths = {ending: folder / f'anticipation.{ending}' for ending in ('json', 'png')}
    write_text(paths['json'], json.dumps([asdict(curve) for curve in curves], indent=1) + '\n')
    figure = Figure(figsize=(9, 3.6), layout='constrained')
    early, cost = figure.subplots(1, 2, sharey=True)
    for curve in curves:
        name = f'{curve.encoder}, {curve.data}'
        style: Mapping[str, Any] = dict(marker='o', linestyle='-' if curve.causal else '--')
        early.plot(curve.shares, curve.top1, label=name, **style)
        cost.plot([curve.milliseconds], [curve.top1[-1]], 'o' if curve.causal else 's', label=name)
    early.set(xlabel='share of the clip seen (%)', ylabel='linear probe, top-1 (%)')
    cost.set(xlabel='ms per new frame', xscale='log', title='whole clip; squares: run again')
    early.legend(fontsize=7)
    save_picture(figure, paths['png'], dpi=120)
    return paths
