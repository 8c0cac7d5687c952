"""What a new frame costs: with keys and values of past frames, and by encoding these again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor, nn

from nextvid_mm.inferencers.rollout import roll_out, rollout_ways
from nextvid_mm.progress import track

EDGE = 50  # frames at each end of the stream that `StreamingCost.ratio` compares
WARM_UP = 3
Result = TypeVar('Result')


def timed(
    work: Callable[[], Result], clock: Callable[[], float] = time.perf_counter
) -> tuple[Result, float]:
    """What a call returns, and the seconds it takes until a GPU in use has finished."""
    wait = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    wait()
    start = clock()
    result = work()
    wait()
    return result, clock() - start


@dataclass(frozen=True)
class StreamingCost:
    """Milliseconds per new frame; a frame is a tubelet.

    Attributes:
        window: frames in the cache.
        streaming_ms: cost of every frame with the cache.
        recompute_frames: lengths of video that were encoded from the start.
        recompute_ms: cost of each.
        cache_bytes: of keys and values for one stream, all layers.
    """

    window: int
    streaming_ms: list[float]
    recompute_frames: list[int]
    recompute_ms: list[float]
    cache_bytes: int

    @property
    def ratio(self) -> float:
        """Median of the last 50 frames over that of the first 50 after the window has filled.

        With fewer than 100 frames after that, of the last half over the first half.
        """
        full = self.streaming_ms[self.window :]
        edge = min(EDGE, len(full) // 2)
        return median(full[-edge:]) / median(full[:edge])

    @property
    def advantage(self) -> float:
        """How many times more the last recomputation costs than the median cached frame."""
        return self.recompute_ms[-1] / median(self.streaming_ms[self.window :])


@torch.no_grad()
def measure_streaming(
    backbone: nn.Module,
    frames: int = 200,
    window: int = 32,
    recompute_at: Sequence[int] | None = None,
    size: int | None = None,
    repeats: int = 3,
    progress: bool = True,
) -> StreamingCost:
    """Push one stream of noise through an encoder, frame by frame.

    Args:
        backbone: a ``CausalViT``; timed on its device, in its type.
        frames: length of the stream in tubelets; more than ``window`` + 1.
        window: frames in the cache.
        recompute_at: lengths to encode from the start, for comparison; None for ten of them up to
            ``frames``. The attention of a long video is costly with a large encoder.
        size: pixels per side; None for the encoder's own.
        repeats: recomputations of each length, of which the median is taken.
        progress: show a progress bar.
    """
    if frames < window + 2:
        raise ValueError(f'frames={frames} must be at least window + 2 = {window + 2}')
    lengths = list(recompute_at or (round(frames * (n + 1) / 10) for n in range(10)))
    side = size or backbone.img_size
    clip = next(backbone.parameters()).new_empty(1, 3, backbone.tubelet_size, side, side).normal_()
    grid, patches = backbone.grid_of(clip), backbone.patchify(clip)
    mode = backbone.training
    backbone.eval()
    for _ in range(WARM_UP):
        backbone.encode_step(patches, grid, backbone.make_cache(window))
    cache = backbone.make_cache(window)
    steps = track(range(frames), 'streaming', 'frames', quiet=not progress)
    step = partial(backbone.encode_step, patches, grid, cache)
    streaming = [1000 * timed(step)[1] for _ in steps]
    recompute = []
    for length in track(lengths, 'recomputing', 'lengths', quiet=not progress):
        video, whole = patches.expand(-1, length, -1, -1), grid.with_tubelets(length)
        encode = partial(backbone, video, whole)
        recompute.append(1000 * median(timed(encode)[1] for _ in range(repeats)))
    backbone.train(mode)
    return StreamingCost(window, streaming, lengths, recompute, cache.nbytes)


@dataclass(frozen=True)
class RolloutCost:
    """Seconds that the same rollout takes with the key/value cache and without.

    Attributes:
        context: tubelets it starts from.
        tubelets: generated tubelets.
        num_steps: solver steps per tubelet.
        cached: with the cache.
        recomputed: with all frames encoded again for each new one.
        cached_context: of the former, encoder and predictor alone.
        recomputed_context: the same without the cache.
        difference: largest difference of a pixel in [-1, 1] between both.
    """

    context: int
    tubelets: int
    num_steps: int
    cached: float
    recomputed: float
    cached_context: float
    recomputed_context: float
    difference: float

    @property
    def advantage(self) -> float:
        """How many times faster encoder and predictor are with the cache."""
        return self.recomputed_context / self.cached_context

    def __str__(self) -> str:
        return (
            f'Rolling out {self.tubelets} tubelets from {self.context} takes {self.cached:.2f} s '
            f'with the key/value cache and {self.recomputed:.2f} s without, {self.num_steps} '
            f'solver steps each; encoding and prediction alone, {self.cached_context:.2f} s and '
            f'{self.recomputed_context:.2f} s ({self.advantage:.1f} times).'
        )


def measure_rollout(
    model: nn.Module,
    clip: Tensor,
    tubelets: int = 16,
    seeds: Sequence[int] | None = None,
    num_steps: int = 20,
    solver: str = 'euler',
) -> RolloutCost:
    """Time the same rollout both ways, without a window: nothing is evicted in either.

    Arguments as in ``roll_out``; without ``seeds``, the clips' are 0, 1, ...
    """
    settings = (range(len(clip)) if seeds is None else seeds, num_steps, solver)
    list(roll_out(model, clip, 1, *settings))  # the first pass of a shape is slower
    ways = rollout_ways(model, clip, tubelets, *settings)
    (cached, recomputed, *_), seconds = zip(*map(timed, ways.values()), strict=True)
    return RolloutCost(  # type: ignore[call-arg]
        model.backbone.grid_of(clip).tubelets,
        tubelets,
        num_steps,
        *seconds,
        float((cached - recomputed).abs().max()),
    )
