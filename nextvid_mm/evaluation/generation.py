"""How good generated next frames are, where something moves.

Most of a frame looks like the one before it, so that repeating the last frame is hard to beat on
average. Pixels that change are what there is to predict: figures here are over these only.

Shape legend: B clips, S samples per clip, T generated tubelets, N patches per frame, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DATA_RANGE = 2.0  # of pixels in [-1, 1]


@dataclass(frozen=True)
class GenerationMetrics:
    """Next-frame generation on the moving region, means over clips in which something moves.

    Every tubelet is generated from the true frames before it.

    Attributes:
        clips: clips with a moving region.
        samples: generations per clip.
        psnr_generated: dB, mean over single generations.
        psnr_mean_of_samples: dB, of the average of a clip's generations. An average is closer to
            the truth than any sharp sample where the future is open.
        psnr_copy: dB, of repeating the last true video frame before each tubelet.
        psnr_target: dB, of encoding and decoding the truth itself: what the targets can show.
        diversity: standard deviation over a clip's generations, in units of [-1, 1]; 0 for one.
        moving_share: share of pixels that move, in (0, 1].
        by_label: the same for every label among the clips, without ``by_label``.
    """

    clips: int
    samples: int
    psnr_generated: float
    psnr_mean_of_samples: float
    psnr_copy: float
    psnr_target: float
    diversity: float
    moving_share: float
    by_label: Mapping[int, GenerationMetrics]

    @property
    def gain(self) -> float:
        """dB by which single generations beat repeating the last frame; negative if they do not."""
        return self.psnr_generated - self.psnr_copy


@torch.no_grad()
def generation_metrics(
    model: nn.Module,
    clips: Tensor,
    labels: Sequence[int] | Tensor | None = None,
    mask: Any = None,
    num_samples: int = 4,
    num_steps: int = 20,
    solver: str = 'euler',
    seed: int = 0,
    threshold: float = 0.1,
    batch_size: int = 16,
) -> GenerationMetrics:
    """Generate the next frames of clips several times and compare with the truth.

    Args:
        model: a ``NextVid`` with a flow head and targets that decode to pixels.
        clips: ``(B, 3, T_video, height, width)`` in [-1, 1].
        labels: one whole number per clip, for figures per motion.
        mask: a ``BatchMask`` over the clips: only hidden patches are generated, and only pixels in
            them are compared. None shows the model all patches of earlier frames and generates all
            patches of the next.
        num_samples: generations per clip, which differ in noise.
        num_steps: solver steps.
        solver: ``euler`` or ``heun``.
        seed: of the noise.
        threshold: a pixel moves if a colour differs by more than this from the last frame before
            its tubelet.
        batch_size: clips per pass; changes the noise, besides memory.

    Raises:
        ValueError: if nothing moves in any clip, or labels do not fit.
    """
    if labels is not None and len(labels) != len(clips):
        raise ValueError(f'{len(labels)} labels for {len(clips)} clips')
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, float]] = []
    for part in torch.arange(len(clips)).split(batch_size):
        chosen = part.to(clips.device)
        settings = (generator, threshold, num_samples, num_steps, solver)
        rows += _clip_rows(model, clips[chosen], _rows_of(mask, chosen), *settings)
    numbers = [0] * len(rows) if labels is None else [int(label) for label in labels]
    moving = [(n, row) for n, row in zip(numbers, rows, strict=True) if row['moving_share'] > 0]
    if not moving:
        raise ValueError(
            f'nothing moves by more than threshold={threshold} in any of {len(clips)} clips'
        )
    by_label = {
        label: _mean([row for number, row in moving if number == label], num_samples, {})
        for label in sorted({number for number, _ in moving} if labels is not None else ())
    }
    return _mean([row for _, row in moving], num_samples, by_label)


def copy_last_frame(clip: Tensor, tubelet_size: int) -> Tensor:
    """Repeat the last video frame before each tubelet over that tubelet.

    Args:
        clip: ``(B, 3, T_video, height, width)``.
        tubelet_size: video frames per tubelet.

    Returns:
        ``(B, 3, T_video - tubelet_size, height, width)``.
    """
    last = clip[:, :, tubelet_size - 1 : -1 : tubelet_size]
    return last.repeat_interleave(tubelet_size, dim=2)


def moving_region(clip: Tensor, tubelet_size: int, threshold: float) -> Tensor:
    """Boolean ``(B, 1, T_video - tubelet_size, height, width)``: pixels unlike the last frame."""
    change = (clip[:, :, tubelet_size:] - copy_last_frame(clip, tubelet_size)).abs()
    return change.amax(1, keepdim=True) > threshold


def _clip_rows(
    model: nn.Module,
    clip: Tensor,
    mask: Any,
    generator: torch.Generator,
    threshold: float,
    num_samples: int,
    num_steps: int,
    solver: str,
) -> Iterator[dict[str, float]]:
    """Figures of each clip of a batch."""
    tubelet = model.backbone.tubelet_size
    grid = model.backbone.grid_of(clip)
    future = grid.with_tubelets(grid.tubelets - 1)
    queried = None if mask is None else mask.queried
    shape = (len(clip), future.tubelets, _tokens(grid.patches, queried), _channels(model))
    samples = torch.stack(
        [
            model.generate(
                clip, mask, torch.randn(shape, generator=generator).to(clip), num_steps, solver
            )
            for _ in range(num_samples)
        ]
    )
    truth = clip[:, :, tubelet:]
    region = moving_region(clip, tubelet, threshold)
    if queried is not None:
        region &= _pixels_of(queried, grid.patches, grid.width, model.backbone.patch_size, region)
    ceiling = model.target_generator.to_pixels(model.target_generator(clip), future)
    copy = copy_last_frame(clip, tubelet)
    for row, where in enumerate(region):
        picked = where.expand_as(truth[row])
        yield dict(
            psnr_generated=_mean_of([_psnr(x[row], truth[row], picked) for x in samples]),
            psnr_mean_of_samples=_psnr(samples[:, row].mean(0), truth[row], picked),
            psnr_copy=_psnr(copy[row], truth[row], picked),
            psnr_target=_psnr(ceiling[row], truth[row], picked),
            diversity=float(samples[:, row].std(0, correction=0)[picked].mean()),
            moving_share=float(where.float().mean()),
        )


def _psnr(picture: Tensor, truth: Tensor, where: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over the pixels in ``where``."""
    error = float((picture - truth)[where].double().square().mean())
    return math.inf if error == 0 else 10 * math.log10(DATA_RANGE**2 / error)


def _pixels_of(
    queried: Tensor, patches: int, width: int, patch_size: int, region: Tensor
) -> Tensor:
    """Boolean ``(B, 1, 1, height, width)``: pixels of the queried patches ``(B, M)``."""
    chosen = torch.zeros(len(queried), patches, dtype=torch.bool, device=region.device)
    chosen = chosen.scatter(1, queried, True).view(len(queried), 1, 1, -1, width)
    return chosen.repeat_interleave(patch_size, -2).repeat_interleave(patch_size, -1)


def _rows_of(mask: Any, rows: Tensor) -> Any:
    """Some clips' part of a batch mask."""
    if mask is None:
        return None
    parts = (None if index is None else index[rows] for index in (mask.visible, mask.queried))
    return type(mask)(*parts)


def _tokens(patches: int, queried: Tensor | None) -> int:
    return patches if queried is None else queried.shape[1]


def _channels(model: nn.Module) -> int:
    """Channels of a target token.

    Raises:
        ValueError: if the model generates nothing that can be shown.
    """
    target = model.target_generator
    if getattr(model, 'head', None) is None or not hasattr(target, 'to_pixels'):
        raise ValueError(
            f'{type(model).__name__} with head={type(getattr(model, "head", None)).__name__} and '
            f'target_generator={type(target).__name__} cannot generate pictures: it needs a '
            'FlowMatchingHead and targets with to_pixels'
        )
    return int(target.channels)


def _mean(
    rows: list[dict[str, float]], samples: int, by_label: Mapping[int, GenerationMetrics]
) -> GenerationMetrics:
    figures = {name: _mean_of([row[name] for row in rows]) for name in rows[0]}
    return GenerationMetrics(clips=len(rows), samples=samples, by_label=by_label, **figures)


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)
