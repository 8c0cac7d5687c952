"""What a new frame costs: with a bounded cache, and by encoding the whole video again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from rich.progress import track
from torch import nn

from nextvid_mm.layers import TokenGrid

EDGE = 50  # frames at each end of the stream that `StreamingCost.ratio` compares
WARM_UP = 3


@dataclass(frozen=True)
class StreamingCost:
    """Milliseconds per new frame; a frame is a tubelet.

    Attributes:
        window: frames in the cache.
        frames: number of the frame, counted from 1.
        streaming_ms: cost of that frame with the cache.
        recompute_frames: lengths of video that were encoded from the start.
        recompute_ms: cost of each.
        cache_bytes: of keys and values for one stream, all layers.
    """

    window: int
    frames: list[int]
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
    parameter = next(backbone.parameters())
    side = (size or backbone.img_size) // backbone.patch_size
    grid = TokenGrid(1, side, side)
    patches = parameter.new_empty(1, 1, grid.patches, backbone.patch_embed.in_features).normal_()
    mode = backbone.training
    backbone.eval()
    clock = clock_of(parameter.device)
    for _ in range(WARM_UP):
        backbone.encode_step(patches, grid, backbone.make_cache(window))
    cache = backbone.make_cache(window)
    steps: Any = range(frames)
    if progress:
        steps = track(steps, description=f'streaming {frames} frames')
    streaming = [clock(partial(backbone.encode_step, patches, grid, cache)) for _ in steps]
    recompute = []
    for length in track(lengths, description='recomputing') if progress else lengths:
        video, whole = patches.expand(-1, length, -1, -1), grid.with_frames(length)
        encode = partial(backbone.encode_patches, video, whole)
        recompute.append(median(clock(encode) for _ in range(repeats)))
    backbone.train(mode)
    return StreamingCost(
        window, list(range(1, frames + 1)), streaming, lengths, recompute, cache.nbytes
    )


def clock_of(device: torch.device) -> Callable[[Callable[[], Any]], float]:
    """A function that calls another and returns milliseconds, the device's work included."""

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    def clock(work: Callable[[], Any]) -> float:
        wait()
        start = time.perf_counter()
        work()
        wait()
        return (time.perf_counter() - start) * 1000

    return clock
