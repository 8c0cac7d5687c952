"""Accuracy on validation clips that are spoilt, of a linear probe fitted on clean ones.

Reversed, shuffled and static clips say whether the order of frames has been learnt: who loses
nothing by them has looked at pictures.

Shape legend: M clips of a sample, T frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg
from torchvision.transforms.functional import gaussian_blur

from nextvid_mm.compare.frozen import FrozenFeatures
from nextvid_mm.datasets.request import derive_seed
from nextvid_mm.engine.probe.features import cached_loader
from nextvid_mm.evaluation.representation import linear_accuracy
from nextvid_mm.files import write_text
from nextvid_mm.progress import progress_bar

QUALITY, NOISE = 10, 25.0  # of JPEG; standard deviation of bytes


def half_rate(clip: Tensor, draws: torch.Generator) -> Tensor:
    """Every second frame, shown twice."""
    return clip[:, :, torch.arange(clip.shape[2]) // 2 * 2]


def compressed(clip: Tensor, draws: torch.Generator) -> Tensor:
    """Every frame as a JPEG of quality 10."""
    frames = clip.transpose(1, 2).flatten(0, 1)
    pictures = [decode_jpeg(encode_jpeg(frame.contiguous(), QUALITY)) for frame in frames]
    return torch.stack(pictures).unflatten(0, (clip.shape[0], -1)).transpose(1, 2)


def blurred(clip: Tensor, draws: torch.Generator) -> Tensor:
    """Every frame blurred by a fiftieth of its height."""
    sigma = max(clip.shape[-2] / 50, 0.5)
    size = 2 * round(3 * sigma) + 1
    frames = clip.transpose(1, 2).flatten(0, 1)
    soft = gaussian_blur(frames, [size, size], [sigma, sigma])
    return soft.unflatten(0, (clip.shape[0], -1)).transpose(1, 2)


def noisy(clip: Tensor, draws: torch.Generator) -> Tensor:
    """Normal noise of 25 levels, another for every frame."""
    noise = NOISE * torch.randn(clip.shape, generator=draws)
    return (clip + noise).round().clamp(0, 255).to(clip.dtype)


def time_reversed(clip: Tensor, draws: torch.Generator) -> Tensor:
    """The last frame first."""
    return clip.flip(2)


def shuffled(clip: Tensor, draws: torch.Generator) -> Tensor:
    """The frames in an order that is drawn."""
    return clip[:, :, torch.randperm(clip.shape[2], generator=draws)]


def static(clip: Tensor, draws: torch.Generator) -> Tensor:
    """The middle frame all the time."""
    return clip[:, :, [clip.shape[2] // 2]].expand_as(clip).contiguous()


CORRUPTIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    'half rate': half_rate,
    'compressed': compressed,
    'blurred': blurred,
    'noisy': noisy,
    'reversed': time_reversed,
    'shuffled': shuffled,
    'static': static,
}


def corruption_row(features: FrozenFeatures) -> dict[str, float]:
    """Top-1 (%) of the linear probe on clean clips and on each corruption of them."""
    train, labels, val, truth = features.pooled(range(len(features.sets['train'])))
    row = dict(clean=linear_accuracy(train, labels, val, truth))
    for name in CORRUPTIONS:
        spoilt = _means(features, name)
        row[name] = linear_accuracy(train, labels, spoilt, truth)
    return row


@torch.no_grad()
def _means(features: FrozenFeatures, name: str) -> Tensor:
    """Mean tokens of the readable validation samples, spoilt; the draw is each sample's own."""
    loader, parts = cached_loader(features.config, 'val'), []
    with progress_bar('samples') as bar:
        task = bar.add_task(f'validation clips, {name}', total=len(loader.dataset))
        for batch in loader:
            samples = batch['data_samples']
            there = [n for n, s in enumerate(samples) if s.get('failure') is None]
            clips = []
            for n, clip in enumerate(batch['inputs']):
                draws = torch.Generator().manual_seed(derive_seed(int(samples[n].sample_idx)))
                clips.append(CORRUPTIONS[name](clip, draws))
            (tokens,) = features.model.views_of_batch(dict(inputs=clips, data_samples=samples))
            parts.append(tokens[there].float().mean(1).cpu())
            bar.advance(task, len(clips))
    return torch.cat(parts)


def write_rows(rows: dict[str, dict[str, float]], folder: Path) -> Table:
    """Write ``corruptions.json`` and give the table, a row for each encoder and data set."""
    write_text(folder / 'corruptions.json', json.dumps(rows, indent=1) + '\n')
    table = Table(title='linear probe, top-1 on spoilt validation clips (%)')
    table.add_column('encoder')
    for name in ('clean', *CORRUPTIONS):
        table.add_column(name, justify='right')
    for row, found in rows.items():
        cells: list[Any] = [f'{found[name]:.1f}' for name in ('clean', *CORRUPTIONS)]
        table.add_row(row, *cells)
    return table
