"""Mean and standard deviation of every latent channel over a config's training clips."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from nextvid_mm.datasets import ClipSampler
from nextvid_mm.engine.latents.target_pass import TargetPass, frames_of
from nextvid_mm.progress import progress_bar


@torch.no_grad()
def compute_statistics(
    cfg: Config,
    num_clips: int,
    batch_size: int = 8,
    seed: int = 0,
    device: str = 'cpu',
    quiet: bool = False,
) -> tuple[Tensor, Tensor]:
    """Statistics of the raw targets of the first clips of a run, as training would draw them.

    Args:
        cfg: a pretraining config; its target generator must have latent channels.
        num_clips: clips to look at, drawn from the mixture by its weights.
        batch_size: clips per pass.
        seed: of the clips' order and augmentation.
        device: where the target generator runs.
        quiet: show no progress bar.

    Returns:
        Mean and standard deviation, each ``(C,)`` in float32.

    Raises:
        ValueError: if ``num_clips`` is not positive, or the targets have no statistics per channel.
    """
    if num_clips < 1 or batch_size < 1:
        raise ValueError(f'clips={num_clips} and batch_size={batch_size} must be at least 1')
    kind = cfg.model.target_generator.type
    if kind in ('PixelTarget', 'CachedLatentTarget'):
        raise ValueError(f'{kind} takes no file of statistics: there is nothing to compute')
    run = TargetPass(cfg, device, overrides=dict(statistics=None, mean=0.0, std=1.0))
    sampler = ClipSampler(run.dataset, seed)
    requests = sampler.requests(np.arange(num_clips), frames_of(cfg)[0])
    channels = run.target.latent_channels
    count = 0
    total, squares = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
    with progress_bar('clips', quiet) as bar:
        task = bar.add_task('statistics', total=num_clips)
        for batch in run.batches(requests, batch_size):
            raw = run.target(*batch).unflatten(-1, (-1, channels)).flatten(0, -2)
            raw = raw.cpu().double()
            count += len(raw)
            total += raw.sum(0)
            squares += raw.square().sum(0)
            bar.advance(task, len(batch.clip))
    mean = total / count
    # Double precision: the difference of squares keeps far more digits than float32 has.
    variance = (squares / count - mean.square()).clamp_min(0)
    return mean.float(), variance.sqrt().float()
