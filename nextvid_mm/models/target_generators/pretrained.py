"""Targets made by somebody else's network with published weights."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from nextvid_mm.layers import load_exactly

from .base import TargetGenerator
from .statistics import read_statistics
from .weights import read_weights


class PretrainedTarget(TargetGenerator):
    """A frozen network whose weights, and perhaps statistics, come from files.

    Files are read by ``init_weights``, so that a model can be built without them. Statistics from
    a file are part of checkpoints, as the network is: a trained model needs neither file again.

    Args:
        network: the network, built but without its weights.
        checkpoint: its published weights, a file or a folder.
        latent_channels: channels that have statistics of their own.
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        statistics: file with per-channel mean and std; replaces ``mean`` and ``std``.
        mean: mean of the latents, one number or one per channel.
        std: standard deviation, one number or one per channel.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoint: str,
        latent_channels: int,
        patch_size: int,
        tubelet_size: int,
        statistics: str | None = None,
        mean: float | list[float] = 0.0,
        std: float | list[float] = 1.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(patch_size, tubelet_size, mean, std, init_cfg)
        for name, value in (('mean', mean), ('std', std)):
            if isinstance(value, list) and len(value) != latent_channels:
                raise ValueError(
                    f'{name} of {type(self).__name__} has {len(value)} values, but there are '
                    f'{latent_channels} latent channels'
                )
        self.network, self.checkpoint, self.statistics = network, checkpoint, statistics
        self.latent_channels = latent_channels
        if statistics is not None:
            # Not a number until the file is read: nothing trains on targets of unknown scale.
            for name in ('mean', 'std'):
                self.register_buffer(name, torch.full((latent_channels,), float('nan')))
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
        state = self.rename(read_weights(self.checkpoint))
        load_exactly(
            self.network, state, f'model.target_generator.checkpoint={str(self.checkpoint)!r}'
        )
        if self.statistics is not None:
            mean, std = read_statistics(self.statistics, self.latent_channels)
            self.mean.copy_(mean)
            self.std.copy_(std)

    @abstractmethod
    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published names to those of ``network``, without parts it is known not to need."""


def chosen_statistics(
    given: tuple[float | list[float] | None, float | list[float] | None],
    statistics: str | None,
    default: tuple[float | list[float], float | list[float]],
    owner: str,
) -> tuple[float | list[float], float | list[float]]:
    """Mean and std to use: those given, else those that come with the network.

    Raises:
        ValueError: if both a file and values are given, or only one of the values.
    """
    mean, std = given
    if mean is None and std is None:
        return default
    if statistics is not None:
        raise ValueError(f'{owner} has both statistics={statistics!r} and mean or std: give one')
    if mean is None or std is None:
        raise ValueError(f'{owner} has mean={mean!r} and std={std!r}: give both or neither')
    return mean, std
