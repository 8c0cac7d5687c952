"""A small autoencoder of the demo's frames: latent targets where no published weights are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from nextvid_mm.config_files import checked_config
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.demo.ablations.tables import AUTOENCODER
from nextvid_mm.models.backbones.pixels import from_bytes
from nextvid_mm.progress import track

_CLIPS, _FRAMES = 800, 2  # of the training videos, and of each
_STEPS, _BATCH, _RATE = 600, 32, 2e-3
_KL = 1e-5  # weight beside the mean squared error


def make_autoencoder(data: Path, folder: Path | None = None, steps: int = _STEPS) -> Path:
    """Train it, unless it is there; a minute or two of one core.

    Args:
        data: the demo's dataset; nothing but its training videos is seen.
        folder: where weights go, as diffusers stores them; None takes what the config names.
        steps: of the optimiser.

    Returns:
        The folder.
    """
    settings = checked_config(AUTOENCODER).model.target_generator
    folder = folder or Path(settings.checkpoint)
    if (folder / 'config.json').is_file():
        return folder
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = train(settings.architecture.to_dict(), load_frames(data), steps)
    partial = folder.with_name(f'{folder.name}.part')
    shutil.rmtree(partial, ignore_errors=True)
    network.save_pretrained(partial)
    partial.rename(folder)
    return folder


def load_frames(data: Path, clips: int = _CLIPS) -> Tensor:
    """Some frames of the training videos, ``(n, 3, height, width)`` in [-1, 1]."""
    paths = sorted((data / 'videos_train').glob('*.mp4'))
    frames = []
    for path in paths[:: max(1, len(paths) // clips)][:clips]:
        every = [frame for _, frame in VideoReader(path).every()]
        frames += [every[place] for place in np.linspace(0, len(every) - 1, _FRAMES).astype(int)]
    return from_bytes(torch.from_numpy(np.stack(frames)).movedim(-1, 1))


def train(architecture: dict, frames: Tensor, steps: int) -> AutoencoderKL:
    """Reconstruct frames; latents get their scale written into the configuration.

    Args:
        architecture: arguments of ``AutoencoderKL``.
        frames: ``(n, 3, height, width)`` in [-1, 1].
        steps: of the optimiser, whose rate falls to 0.
    """
    network = AutoencoderKL(**architecture)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(steps), 'autoencoder of the demo', 'steps'):
        batch = frames[torch.randint(len(frames), (_BATCH,))]
        posterior = network.encode(batch).latent_dist
        error = (network.decode(posterior.sample()).sample - batch).square().mean()
        loss = error + _KL * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        latents = network.encode(frames[:256]).latent_dist.mean
    network.register_to_config(
        scaling_factor=1 / float(latents.std()), shift_factor=float(latents.mean())
    )
    return network.eval()
