"""Targets made by somebody else's network with published weights, and the files they come in.

A file of statistics has the layout of LightningDiT's ``latents_stats.pt``: ``mean`` and ``std`` of
every latent channel, of shape (1, C, 1, 1). The same two names are read from and written to
``.safetensors`` and ``.json``.

Shape legend: B clips, F video frames, T tubelets, dt frames of a tubelet, N patches, C channels.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, repeat
from mmengine.device import get_device
from safetensors.torch import save_file
from torch import Tensor, nn

from nextvid_mm.checks import check_count
from nextvid_mm.files import replace_when_complete
from nextvid_mm.layers import load_exactly
from nextvid_mm.layers.precision import check_dtype, resolve_dtype, without_autocast
from nextvid_mm.models.checkpoints import find_weights, log_choice, read_file, under

from .base import TargetGenerator

HELP_PAGE = 'docs/targets.md'
# Kinds of files with statistics.
SUFFIXES = ('.pt', '.pth', '.safetensors', '.json')
STACKED = '(b t dt) n c -> b t n (dt c)'
UNSTACKED = 'b t n (dt c) -> (b t dt) n c'


class PretrainedTarget(TargetGenerator):
    """A frozen network whose weights, and perhaps statistics, come from files.

    Files are read by ``init_weights``, so that a model can be built without them. Statistics from
    a file are part of checkpoints, as the network is: a trained model needs neither file again.

    Args:
        network: the network, built but without its weights.
        checkpoint: its published weights, a file or a folder.
        latent_channels: channels C that have statistics of their own.
        own: mean and std that come with the network.
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        statistics: file with per-channel mean and std, ``.pt``, ``.safetensors`` or ``.json``;
            ``tools/compute_latent_stats.py`` makes it.
        mean: mean of the latents, C values or one. None, as ``std``: the network's own.
        std: standard deviation, C values or one.
        dtype: type of weights and arithmetic, whatever autocast says around it: ``auto`` is
            bfloat16 where the hardware is faster in it, None is float32 and exact. Under autocast,
            float32 weights would cost more in casts than in products.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if both a file and values are given, or only one of the values; for an unknown
            ``dtype``.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoint: str,
        latent_channels: int,
        own: tuple[float | Sequence[float], float | Sequence[float]] = (0.0, 1.0),
        patch_size: int = 16,
        tubelet_size: int = 2,
        statistics: str | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        dtype: str | None = 'auto',
        init_cfg: dict | None = None,
    ):
        name = type(self).__name__
        check_dtype(dtype, 'model.target_generator.dtype')
        if statistics is not None and (mean, std) != (None, None):
            raise ValueError(f'{name} has both statistics={statistics!r} and mean or std: give one')
        if (mean is None) != (std is None):
            raise ValueError(f'{name} has mean={mean!r} and std={std!r}: give both or neither')
        if mean is None or std is None:
            mean, std = own
        super().__init__(patch_size, tubelet_size, mean, std, init_cfg)
        for key, value in (('mean', mean), ('std', std)):
            if isinstance(value, Sequence) and len(value) != latent_channels:
                raise ValueError(
                    f'{key} of {name} has {len(value)} values, but there are {latent_channels} '
                    'latent channels'
                )
        self.dtype = resolve_dtype(dtype, get_device()) or torch.float32
        self.network = nn.Module.to(network, self.dtype)  # diffusers' own warns of any cast
        for weight in self.network.parameters():
            if weight.dim() == 4:  # convolutions of images read channels next to each other
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.checkpoint, self.statistics = checkpoint, statistics
        self.latent_channels = latent_channels
        if statistics is not None:
            # Not a number until the file is read: nothing trains on targets of unknown scale.
            for key in ('mean', 'std'):
                self.register_buffer(key, torch.full((latent_channels,), float('nan')))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> PretrainedTarget:
        """Stays in evaluation mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load weights and statistics.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if it is not exactly for this network.
        """
        key = 'model.target_generator.checkpoint'
        stored = read_file(self.checkpoint, key, f'{HELP_PAGE} says where weights come from')
        found = find_weights(stored, str(self.checkpoint))
        log_choice(found, self.checkpoint)
        # Whole models of latent diffusion hold their autoencoder under this name.
        state = self.rename(under(found.state, 'first_stage_model.'))
        load_exactly(self.network, state, f'{key}={str(self.checkpoint)!r}')
        if self.statistics is not None:
            mean, std = read_statistics(self.statistics, self.latent_channels)
            self.mean.copy_(mean)
            self.std.copy_(std)

    def run(self, method: Callable[[Tensor], Any], x: Tensor) -> Any:
        """What a method of the network gives, in the network's own type."""
        images = x.dim() == 4
        layout = torch.channels_last if images else torch.preserve_format
        with without_autocast(x.device.type):
            return method(x.to(dtype=self.dtype, memory_format=layout))

    @abstractmethod
    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published names to those of ``network``, without parts it is known not to need."""


class FramewiseTarget(PretrainedTarget):
    """Encodes images; a token stacks the frames of its tubelet on channels.

    Args:
        args: arguments of ``PretrainedTarget``.
        frames_per_pass: most frames that go through the network at once; bounds memory.
        kwargs: more arguments of ``PretrainedTarget``.
    """

    def __init__(self, *args: Any, frames_per_pass: int = 64, **kwargs: Any):
        super().__init__(*args, **kwargs)
        check_count(frames_per_pass, f'{type(self).__name__}.frames_per_pass')
        self.frames_per_pass = frames_per_pass

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Tokens ``(n, N, C)`` of frames ``(n, 3, height, width)``."""

    def encode(self, clip: Tensor) -> Tensor:
        """Tokens ``(B, T, N, dt * C)``."""
        return rearrange(self._encode(clip), STACKED, b=len(clip), dt=self.tubelet_size)

    def encode_static(self, clip: Tensor) -> Tensor:
        """As ``encode``, from a single frame of each clip."""
        tokens = self._encode(clip[:, :, :1])
        frames = clip.shape[2] // self.tubelet_size
        return repeat(tokens, 'b n c -> b t n (dt c)', t=frames, dt=self.tubelet_size)

    def _encode(self, clip: Tensor) -> Tensor:
        frames = rearrange(clip, 'b c f h w -> (b f) c h w')
        return torch.cat([self.encode_frames(part) for part in frames.split(self.frames_per_pass)])


def read_statistics(path: str | Path, channels: int) -> tuple[Tensor, Tensor]:
    """Read mean and standard deviation, each ``(channels,)`` in float32.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is of another kind, lacks a value or has another number of channels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'model.target_generator.statistics={str(path)!r} is missing: '
            'tools/compute_latent_stats.py makes such a file from a config'
        )
    stored = _load(path)
    absent = [name for name in ('mean', 'std') if name not in stored]
    if absent:
        raise ValueError(f'{path} has no {absent}, only {sorted(stored)}: need mean and std')
    mean, std = (
        torch.as_tensor(stored[name], dtype=torch.float32).flatten() for name in ('mean', 'std')
    )
    for name, value in (('mean', mean), ('std', std)):
        if value.numel() != channels:
            raise ValueError(
                f'{path}: {name} has {value.numel()} channels, the network has {channels}'
            )
    if not bool((std > 0).all()):
        raise ValueError(f'{path}: std must be positive, found {float(std.min())}')
    return mean, std


def write_statistics(path: str | Path, mean: Tensor, std: Tensor) -> None:
    """Write ``(C,)`` statistics in the kind of file that the name ends in."""
    path = Path(path)
    check_suffix(path)
    stored = {
        name: value.float().reshape(1, -1, 1, 1).contiguous()
        for name, value in (('mean', mean), ('std', std))
    }
    with replace_when_complete(path) as temporary:
        if path.suffix == '.json':
            values = {name: value.flatten().tolist() for name, value in stored.items()}
            temporary.write_text(json.dumps(values, indent=1) + '\n', encoding='utf-8')
        elif path.suffix == '.safetensors':
            save_file(stored, temporary)
        else:
            torch.save(stored, temporary)


def check_suffix(path: str | Path) -> None:
    """Raise unless statistics can be kept in a file of this name."""
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(f'{path} must end in one of {", ".join(SUFFIXES)}')


def _load(path: Path) -> dict[str, Any]:
    check_suffix(path)
    if path.suffix == '.json':
        return json.loads(path.read_text(encoding='utf-8'))
    return read_file(path)


def read_architecture(path: str | Path) -> dict[str, Any]:
    """Read ``config.json`` of a published folder.

    Raises:
        FileNotFoundError: if it does not exist.
    """
    file = Path(path, 'config.json')
    if not file.is_file():
        raise FileNotFoundError(
            f'model.target_generator.checkpoint={str(path)!r} is no folder with a config.json: '
            f'give one, or describe the network under `architecture`; {HELP_PAGE} says how'
        )
    return json.loads(file.read_text(encoding='utf-8'))
