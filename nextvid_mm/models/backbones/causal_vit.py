"""The frame-wise causal video ViT (arXiv 2512.21004, §3.1, Table 7).

Shape legend: B batch, T frames (tubelets), N tokens per frame, K visible ones, P values per patch,
C channels.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextvid_mm.layers import (
    CausalBlock,
    FrameCache,
    Rope3D,
    TokenGrid,
    TubeletEmbed,
    gather_patches,
    init_transformer,
    patchify,
    resolve_arch,
    set_recompute,
)
from nextvid_mm.registry import MODELS

OUTPUTS = ('map', 'maps', 'tokens')


@MODELS.register_module()
class CausalViT(BaseModule):
    """Vision transformer whose tokens see their own and earlier frames only.

    Usable as an MMAction2 backbone (``output='map'``) and as an MMPretrain backbone
    (``output='maps'``); an image ``(B, 3, height, width)`` is taken as a static clip of one
    tubelet.

    Args:
        arch: ``large``, ``huge`` or ``giant``, or a dict of ``embed_dims``, ``depth``,
            ``num_heads`` and ``mlp_ratio``.
        img_size: pixels per side the model is used with; other multiples of the patch work too,
            as positions are rotary.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames per token.
        causal: False lets every token see every other one, as encoders of masked-video methods do.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        with_cp: recompute blocks in the backward pass instead of keeping activations: False,
            ``light`` or True, see ``set_recompute``.
        output: what ``forward`` returns: ``map`` ``(B, C, T, H, W)``, ``maps`` the same in a
            tuple, ``tokens`` ``(B, T, N, C)``.
        tiled_rope: the rotation of released V-JEPA 2 weights, see ``Rope3D``.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        arch: str | dict = 'large',
        img_size: int = 256,
        patch_size: int = 16,
        tubelet_size: int = 2,
        causal: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool | str = False,
        output: str = 'map',
        tiled_rope: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        arch = resolve_arch(arch)
        if output not in OUTPUTS:
            raise ValueError(f'output={output!r} of CausalViT is not one of {", ".join(OUTPUTS)}')
        if img_size % patch_size:
            raise ValueError(
                f'img_size={img_size} of CausalViT does not divide into patches of patch_size='
                f'{patch_size}; use a multiple of {patch_size}'
            )
        self.img_size, self.patch_size, self.tubelet_size = img_size, patch_size, tubelet_size
        self.embed_dims, self.depth = arch['embed_dims'], arch['depth']
        self.num_heads, self.mlp_ratio = arch['num_heads'], arch['mlp_ratio']
        self.causal, self.output = causal, output
        self.patch_embed = TubeletEmbed(patch_size, tubelet_size, self.embed_dims)
        self.rope = Rope3D(self.embed_dims // self.num_heads, tiled_frequencies=tiled_rope)
        drops = torch.linspace(0, drop_path_rate, self.depth, device='cpu').tolist()
        self.blocks = nn.ModuleList(
            CausalBlock(self.embed_dims, self.num_heads, self.mlp_ratio, drop) for drop in drops
        )
        self.with_cp = set_recompute(self.blocks, with_cp)
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)

    def init_weights(self) -> None:
        """Initialise, then load ``init_cfg`` if there is one."""
        init_transformer(self, self.blocks)
        super().init_weights()

    def grid_of(self, clip: Tensor) -> TokenGrid:
        """Token grid of a clip ``(B, 3, T_video, height, width)``."""
        return TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)

    def patchify(self, clip: Tensor) -> Tensor:
        """Flat patches ``(B, T, N, P)`` of a clip; cut once, shared by every pass over the clip."""
        return patchify(clip, self.patch_size, self.tubelet_size)

    def encode_patches(
        self,
        patches: Tensor,
        grid: TokenGrid,
        visible: Tensor | None = None,
        last: int = 1,
        cache: FrameCache | None = None,
    ) -> list[Tensor]:
        """Encode the visible patches of every frame.

        Args:
            patches: ``(B, T, N, P)`` from ``patchify``; frames beyond ``grid`` are ignored.
            grid: the clip's token grid, or that of its first frames.
            visible: ``(B, K)`` patch numbers inside a frame, or None for all.
            last: number of last blocks whose output is returned.
            cache: earlier frames; see ``encode_step``, which passes it.

        Returns:
            ``last`` tensors ``(B, T, K, C)``, each through the final norm, deepest last.
        """
        if not 1 <= last <= self.depth:
            raise ValueError(f'last={last} layers asked of an encoder with {self.depth}')
        x = self.patch_embed(gather_patches(patches, visible, grid.frames))
        rope = self.rope(grid, visible, first_frame=cache.seen if cache else 0)
        shape = x.shape
        if not self.causal:
            x = x.flatten(1, 2)[:, None]  # one "frame" of all tokens: nothing is hidden
        outputs = []
        for depth, block in enumerate(self.blocks):
            if cache is not None:
                # Not through __call__: a compiled block would be compiled anew for every frame.
                x = block.forward(x, rope, cache.causal(depth))
            elif self.with_cp and torch.is_grad_enabled():
                x = checkpoint(block, x, rope, use_reentrant=False)
            else:
                x = block(x, rope)
            if depth >= self.depth - last:
                outputs.append(self.norm(x).reshape(shape))
        if cache is not None:
            cache.advance(grid.frames)
        return outputs

    @torch.no_grad()
    def encode_step(
        self,
        patches: Tensor,
        grid: TokenGrid,
        cache: FrameCache,
        visible: Tensor | None = None,
        last: int = 1,
    ) -> list[Tensor]:
        """Encode only the new frames of a video whose earlier frames are in ``cache``.

        Equal to ``encode_patches`` of the whole video while no frame has left the cache. After
        that, each layer attends to the last ``cache.window`` frames; see ``StreamingEncoder``.

        Args:
            patches: ``(B, T, N, P)`` of the T new frames.
            grid: token grid of the new frames.
            cache: from ``make_cache``; the new frames are added to it.
            visible: ``(B, K)`` patch numbers inside a frame, the same in every step; None for all.
            last: number of last blocks whose output is returned.

        Returns:
            ``last`` tensors ``(B, T, K, C)``, as from ``encode_patches``.
        """
        return self.encode_patches(patches, grid, visible, last, cache)

    def make_cache(self, window: int) -> FrameCache:
        """An empty cache for ``encode_step`` that keeps ``window`` frames (tubelets).

        Raises:
            ValueError: if the encoder is not causal: a new frame then changes all earlier ones.
        """
        if not self.causal:
            raise ValueError(
                'causal=False of CausalViT: only a causal encoder can go frame by frame'
            )
        return FrameCache(self.depth, window)

    def encode(self, clip: Tensor, visible: Tensor | None = None) -> Tensor:
        """Final tokens ``(B, T, K, C)`` of a clip ``(B, 3, T_video, height, width)``."""
        return self.encode_patches(self.patchify(clip), self.grid_of(clip), visible)[-1]

    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """Normalised tokens of the last blocks, ``last`` tensors ``(B, T, N, C)``."""
        return self.encode_patches(self.patchify(clip), self.grid_of(clip), last=last)

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor]:
        """Features of a clip ``(B, 3, T, height, width)`` or image ``(B, 3, height, width)``."""
        if clip.dim() == 4:
            clip = clip[:, :, None].expand(-1, -1, self.tubelet_size, -1, -1)
        tokens = self.encode(clip)
        if self.output == 'tokens':
            return tokens
        grid = self.grid_of(clip)
        features = tokens.unflatten(2, (grid.height, grid.width)).permute(0, 4, 1, 2, 3)
        return (features,) if self.output == 'maps' else features
