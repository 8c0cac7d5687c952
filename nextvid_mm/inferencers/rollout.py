"""Autoregressive rollout: generate a tubelet, read it, generate the next (arXiv 2512.21004, §3).

Shape legend: B clips, T context tubelets, n generated ones, N patches per tubelet, C target
channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.flow import draw_flow

# From pixels of new tubelets to the predictor's output (B, 1, N, C) for the tubelet after them.
Predict = Callable[[Tensor], Tensor]


@torch.no_grad()
def roll_out(
    model: nn.Module,
    clip: Tensor,
    tubelets: int,
    seeds: Sequence[int],
    num_steps: int = 20,
    solver: str = 'euler',
    window: int | None = None,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Continue clips, one tubelet after the other.

    Each step encodes the newest tubelets, predicts every patch of the next one from all tubelets so
    far, generates targets with the flow decoder, decodes them to pixels and feeds these back to the
    encoder. All patches of the context are shown.

    Args:
        model: a ``NextVid`` with a flow head and targets that decode to pixels, in evaluation mode.
        clip: the beginning ``(B, 3, T_video, height, width)`` in [-1, 1].
        tubelets: how many to generate.
        seeds: one per clip, of its noise: a clip's continuation does not depend on its batch.
        num_steps: solver steps per tubelet.
        solver: ``euler`` or ``heun``.
        window: tubelets that are remembered, generated ones included; None for all.
        use_cache: keep keys and values of past tubelets in encoder and predictor. Without it, all
            tubelets are encoded again in every step: the same result (up to eviction) at a higher
            price.

    Yields:
        ``tubelets`` times the next video frames ``(B, 3, tubelet_size, height, width)`` in [-1, 1].

    Raises:
        ValueError: if the predictor cannot predict one tubelet at a time.
    """
    if not model.neck.rolls_out:
        raise ValueError(
            f'model.neck of type {type(model.neck).__name__} has no predict_next, which a rollout '
            'needs; QFormerPredictor has'
        )
    grid = model.backbone.grid_of(clip)
    channels = model.target_generator.channels
    noise = draw_flow(seeds, (tubelets, 1), (tubelets, 1, grid.patches, channels), like=clip).noise
    predict = (cached if use_cache else recomputed)(model, window or grid.tubelets + tubelets)
    frame, new = grid.with_tubelets(1), clip
    for number in range(tubelets):
        z = predict(new)
        start = noise[:, number].to(z.dtype)
        target = model.head.sample(z, start, frame, num_steps=num_steps, solver=solver)
        new = model.target_generator.to_pixels(target, frame).to(clip.dtype)
        yield new


def rollout_ways(
    model: nn.Module,
    clip: Tensor,
    tubelets: int,
    seeds: Sequence[int],
    num_steps: int = 20,
    solver: str = 'euler',
) -> dict[str, Callable[[], Tensor]]:
    """Functions whose times tell what the cache is worth, by name.

    A whole rollout with and without the cache, then the part that the cache shortens: encoder and
    predictor alone, where the clip's last tubelet stands in for every generated one. Arguments as
    in ``roll_out``.
    """
    window = model.backbone.grid_of(clip).tubelets + tubelets

    def whole(use_cache: bool) -> Tensor:
        frames = roll_out(model, clip, tubelets, seeds, num_steps, solver, None, use_cache)
        return torch.cat(list(frames), dim=2)

    @torch.no_grad()
    def context(way: Callable[[Any, int], Predict]) -> Tensor:
        predict = way(model, window)
        last = predict(clip)
        for _ in range(tubelets - 1):
            last = predict(clip[:, :, -model.backbone.tubelet_size :])
        return last

    return {
        'rollout, cache': partial(whole, True),
        'rollout, encoded again': partial(whole, False),
        'encoder and predictor, cache': partial(context, cached),
        'encoder and predictor, encoded again': partial(context, recomputed),
    }


def cached(model: Any, window: int) -> Predict:
    """Predictions at the cost of the new tubelets."""
    encoded = model.backbone.make_cache(window)
    context_cache = model.neck.make_cache(window)

    def predict(new: Tensor) -> Tensor:
        grid = model.backbone.grid_of(new)
        context = model.backbone.encode_step(model.backbone.patchify(new), grid, encoded)[-1]
        return model.neck.predict_next(context, grid, context_cache)

    return predict


def recomputed(model: Any, window: int) -> Predict:
    """Predictions from the last ``window`` tubelets, encoded from the start every time."""
    frames: list[Tensor] = []

    def predict(new: Tensor) -> Tensor:
        frames.append(new)
        video = torch.cat(frames, dim=2)[:, :, -window * model.backbone.tubelet_size :]
        return cached(model, window)(video)

    return predict
