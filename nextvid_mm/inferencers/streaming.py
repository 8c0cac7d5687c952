"""Features of endless videos at a constant cost per tubelet.

Shape legend: B streams, T tubelets, N tokens per tubelet, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.models.checkpoints import open_encoder


class StreamingEncoder:
    """A ``CausalViT`` that is fed video as it arrives.

    While no tubelet has been evicted, features equal those of the whole video encoded at once. From
    then on every layer attends to the last ``window`` tubelets. That is *not* the same as encoding
    the last ``window`` tubelets alone: what the oldest took from those before it, in earlier
    layers, remains. The receptive field is ``depth * (window - 1) + 1`` tubelets. Rotary positions
    are relative, so a stream can be of any length (with ``tiled_rope``, the rotation of released
    V-JEPA 2 weights, they are not quite: features then drift with the length of the stream).

    Args:
        encoder: the encoder; put into evaluation mode and moved to ``device``.
        window: tubelets that are remembered, the newest included. The encoder has learnt
            from clips of so many tubelets; a longer memory is beyond what it was trained on.
        device: where to compute; None for where the encoder is.
        dtype: autocast type, such as ``torch.bfloat16``, also of the cache; None for the encoder's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        window: int = 32,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.encoder: Any = encoder.eval() if device is None else encoder.eval().to(device)
        self.dtype = dtype
        self.cache = self.encoder.make_cache(window)
        self._pending: Tensor | None = None  # video frames of a tubelet that is not complete

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        weights: str | None = None,
        window: int = 32,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> StreamingEncoder:
        """Build the encoder that a checkpoint records; see ``open_encoder`` and the class."""
        return cls(open_encoder(path, weights)[0], window, device, dtype)

    @property
    def seen(self) -> int:
        """Tubelets since the last full reset."""
        return self.cache.seen

    @property
    def receptive_field(self) -> int:
        """Tubelets that can have left a trace in the newest features, itself included."""
        return self.encoder.depth * (self.cache.window - 1) + 1

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Start all streams afresh, or those numbered ``streams`` while the others go on.

        Raises:
            ValueError: if single streams are reset in the middle of a tubelet.
        """
        if streams is None:
            self._pending = None
        elif self._pending is not None:
            raise ValueError(
                f'{self._pending.shape[2]} of {self.encoder.tubelet_size} video frames of a '
                'tubelet are in: single streams can be reset between tubelets only'
            )
        self.cache.reset(streams)

    def push(self, frames: Tensor) -> Tensor:
        """Encode new video frames.

        Frames are encoded as soon as their tubelet is complete; the others wait for the next call.

        Args:
            frames: ``(B, 3, T_video, height, width)``, any number of video frames, normalised as
                in training ([-1, 1]), the same B streams in every call.

        Returns:
            ``(B, T, N, C)`` through the final norm, T being the tubelets completed by this call;
            T may be 0.

        Raises:
            ValueError: if the frames do not fit those before them.
        """
        return self.push_layers(frames)[-1]

    @torch.no_grad()
    def push_layers(self, frames: Tensor, last: int = 1) -> list[Tensor]:
        """As ``push``, with the tokens of the ``last`` blocks, deepest last."""
        encoder = self.encoder
        weight = next(encoder.parameters())
        frames = frames.to(weight.device)
        if self.dtype is None:
            frames = frames.to(weight.dtype)
        clip = self._join(frames)
        whole = clip.shape[2] // encoder.tubelet_size * encoder.tubelet_size
        ready, rest = clip[:, :, :whole], clip[:, :, whole:]
        if whole:
            with torch.autocast(clip.device.type, self.dtype, enabled=self.dtype is not None):
                grid = encoder.grid_of(ready)
                patches = encoder.patchify(ready)
                layers = encoder.encode_step(patches, grid, self.cache, last=last)
        else:
            grid = encoder.grid_of(clip[:, :, :0])
            layers = [clip.new_empty(len(clip), 0, grid.patches, encoder.embed_dims)] * last
        self._pending = rest.clone() if rest.shape[2] else None
        return layers

    def _join(self, frames: Tensor) -> Tensor:
        """New frames behind those that wait."""
        if frames.dim() != 5 or frames.shape[1] != 3:
            raise ValueError(
                f'push takes frames (B, 3, T_video, height, width), found {tuple(frames.shape)}'
            )
        if self._pending is None:
            return frames
        old, new = self._pending.shape, frames.shape
        if (old[0], old[3:]) != (new[0], new[3:]):
            raise ValueError(
                f'{old[0]} streams of {tuple(old[3:])} px have begun, found {new[0]} of '
                f'{tuple(new[3:])} px: call reset() before other streams'
            )
        return torch.cat([self._pending, frames], dim=2)
