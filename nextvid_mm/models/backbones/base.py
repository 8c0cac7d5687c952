"""What an encoder is.

Shape legend: B batch, T tubelets, H and W patches, N = H * W tokens per tubelet, K visible
ones, P values per patch, C channels.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.layers import FrameCache, TokenGrid, patchify
from nextvid_mm.models.hub import HubFolder
from nextvid_mm.models.part import Part

OUTPUTS = ('map', 'maps', 'tokens')


class ClipEncoder(Part, HubFolder):
    """An encoder of clips, which can be probed.

    Args:
        embed_dims: channels C of its tokens.
        depth: layers whose tokens can be asked for.
        img_size: pixels per side it is used with.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames per token.
        output: what a call with clips returns: ``map`` ``(B, C, T, H, W)``, as MMAction2 has it,
            ``maps`` the same in a tuple (MMPretrain), ``tokens`` ``(B, T, N, C)``.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if patches do not divide the image, or for an unknown ``output``.
    """

    causal = False
    """Whether a token sees own and earlier tubelets only."""
    per_frame = False
    """Whether it sees its own only; then a new tubelet can be encoded alone."""
    streams = False
    """Whether it can go tubelet by tubelet, see ``VideoEncoder.encode_step``."""

    def __init__(
        self,
        embed_dims: int,
        depth: int = 1,
        img_size: int = 256,
        patch_size: int = 16,
        tubelet_size: int = 2,
        output: str = 'map',
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        name = type(self).__name__
        if output not in OUTPUTS:
            raise ValueError(f'output={output!r} of {name} is not one of {", ".join(OUTPUTS)}')
        if img_size % patch_size:
            raise ValueError(
                f'img_size={img_size} of {name} does not divide into patches of patch_size='
                f'{patch_size}; use a multiple of {patch_size}'
            )
        self.embed_dims, self.depth, self.output = embed_dims, depth, output
        self.img_size, self.patch_size, self.tubelet_size = img_size, patch_size, tubelet_size

    @abstractmethod
    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """Normalised tokens of the last blocks, deepest last.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            last: number of blocks, at most ``depth``.

        Returns:
            ``last`` tensors ``(B, T, N, C)``.
        """

    def check_last(self, last: int) -> None:
        """Raise unless there are ``last`` layers."""
        if not 1 <= last <= self.depth:
            raise ValueError(f'last={last} layers asked of an encoder with {self.depth}')

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Layer of a parameter, and their number, as MMPretrain counts them for layer-wise rates.

        What comes before the blocks is layer 0, block b is b + 1, final norm and head are the last.

        Args:
            param_name: name in the model.
            prefix: of the encoder's parameters in the model; all others are the head's.
        """
        layers = len(self.trunk.blocks) + 2
        inner = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix):
            return layers - 1, layers
        if block := re.search(r'(?:^|\.)blocks\.(\d+)\.', inner):
            return int(block[1]) + 1, layers
        return (layers - 1 if re.search(r'norm\.\w+$', inner) else 0), layers

    def grid_of(self, clip: Tensor) -> TokenGrid:
        """Token grid of a clip ``(B, 3, T_video, height, width)``."""
        return TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)

    def encode(self, clip: Tensor) -> Tensor:
        """Tokens of the last block ``(B, T, N, C)`` of a clip."""
        return self.encode_layers(clip)[-1]

    def forward(self, clip: Tensor) -> Any:
        """Features of a clip ``(B, 3, T_video, height, width)``, as ``output`` says.

        An image ``(B, 3, height, width)`` is taken as a static clip of one tubelet.
        """
        if clip.dim() == 4:
            clip = clip[:, :, None].expand(-1, -1, self.tubelet_size, -1, -1)
        tokens = self.encode(clip)
        if self.output == 'tokens':
            return tokens
        height, width = (side // self.patch_size for side in clip.shape[-2:])
        features = tokens.unflatten(2, (height, width)).permute(0, 4, 1, 2, 3)
        return (features,) if self.output == 'maps' else features


class VideoEncoder(ClipEncoder):
    """An encoder that can be pretrained: it encodes the patches it is shown, and no others.

    Write ``encode_patches``; with ``streams = True`` also what ``make_cache`` and a ``cache``
    need. Arguments as in ``ClipEncoder``.
    """

    @abstractmethod
    def encode_patches(
        self,
        patches: Tensor,
        grid: TokenGrid,
        visible: Tensor | None = None,
        last: int = 1,
        cache: FrameCache | None = None,
    ) -> list[Tensor]:
        """Encode the visible patches of every tubelet. Callers call the encoder itself.

        Args:
            patches: ``(B, T, N, P)`` from ``patchify``; tubelets beyond ``grid`` are ignored.
            grid: the clip's token grid, or that of its first tubelets.
            visible: ``(B, K)`` patch numbers inside a tubelet, or None for all.
            last: number of last blocks whose output is returned.
            cache: earlier tubelets, given only to encoders that stream.

        Returns:
            ``last`` tensors ``(B, T, K, C)``, normalised, deepest last.
        """

    def forward(
        self,
        clip: Tensor,
        grid: TokenGrid | None = None,
        visible: Tensor | None = None,
        last: int = 1,
        cache: FrameCache | None = None,
    ) -> Any:
        """Features of a clip, as a backbone of MMAction2; with ``grid``, tokens of its patches.

        Args:
            clip: ``(B, 3, T_video, height, width)``, or patches, see ``encode_patches``.
            grid: of the patches; the other arguments go with it.
            visible: see ``encode_patches``.
            last: see ``encode_patches``.
            cache: see ``encode_patches``.
        """
        if grid is None:
            return super().forward(clip)
        if cache is None:
            return self.encode_patches(clip, grid, visible, last)
        return self.encode_patches(clip, grid, visible, last, cache)

    def patchify(self, clip: Tensor) -> Tensor:
        """Flat patches ``(B, T, N, P)`` of a clip; cut once, shared by every pass over the clip."""
        return patchify(clip, self.patch_size, self.tubelet_size)

    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """Normalised tokens of the last blocks, see ``ClipEncoder``."""
        return self.encode_patches(self.patchify(clip), self.grid_of(clip), last=last)

    def encode(self, clip: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens of the last block ``(B, T, K, C)`` of a clip, at its ``visible`` patches."""
        return self.encode_patches(self.patchify(clip), self.grid_of(clip), visible)[-1]

    @classmethod
    def still(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of an encoder with the same weights that is never trained, for the reference.

        Leaves out what only training needs, such as stochastic depth.
        """
        return {key: value for key, value in settings.items() if key != 'init_cfg'}

    def make_cache(self, window: int) -> FrameCache:
        """An empty cache of ``window`` tubelets, to go tubelet by tubelet.

        Raises:
            ValueError: if the encoder cannot stream.
        """
        if not self.streams:
            raise ValueError(
                f'streams=False of {type(self).__name__}, causal={self.causal}: only a causal '
                'encoder can go frame by frame, as a new frame must leave earlier ones alone'
            )
        return FrameCache(self.depth, window)

    @torch.no_grad()
    def encode_step(
        self,
        patches: Tensor,
        grid: TokenGrid,
        cache: FrameCache,
        visible: Tensor | None = None,
        last: int = 1,
    ) -> list[Tensor]:
        """Encode only the new tubelets of a video whose earlier tubelets are in ``cache``.

        Equal to a call with the whole video while no tubelet has left the cache. After that, each
        layer attends to the last ``cache.window`` tubelets; see ``StreamingEncoder``.

        Args:
            patches: ``(B, T, N, P)`` of the T new tubelets.
            grid: token grid of the new tubelets.
            cache: from ``make_cache``; the new tubelets are added to it.
            visible: ``(B, K)`` patch numbers inside a tubelet, the same in each step; None for all.
            last: number of last blocks whose output is returned.

        Returns:
            ``last`` tensors ``(B, T, K, C)``.
        """
        return self(patches, grid, visible, last, cache)
