"""The frame-wise causal video ViT (arXiv 2512.21004, §3.1, Table 7).

Shape legend: B batch, T tubelets, N tokens per tubelet, K visible ones, P values per patch,
C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.layers import (
    CausalBlock,
    FrameCache,
    Rope3D,
    TokenGrid,
    TubeletEmbed,
    add_lora,
    gather_patches,
    init_transformer,
    reset_lora,
    resolve_arch,
    set_recompute,
)
from nextvid_mm.registry import MODELS

from .base import VideoEncoder


@MODELS.register_module()
class CausalViT(VideoEncoder):
    """Vision transformer whose tokens see their own and earlier tubelets only.

    Usable as an MMAction2 backbone (``output='map'``) and as an MMPretrain backbone
    (``output='maps'``); an image ``(B, 3, height, width)`` is taken as a static clip of one
    tubelet.

    Args:
        arch: ``tiny``, ``small``, ``base``, ``large``, ``huge`` or ``giant``, or a dict of
            ``embed_dims``, ``depth``, ``num_heads`` and ``mlp_ratio``.
        img_size: pixels per side the model is used with; other multiples of the patch work too,
            as positions are rotary.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames per token.
        causal: False lets every token see every other one, as encoders of masked-video methods do.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        with_cp: recompute blocks in the backward pass instead of keeping activations: False,
            ``light``, ``products`` or True, see ``set_recompute``.
        output: what ``forward`` returns: ``map`` ``(B, C, T, H, W)``, ``maps`` the same in a
            tuple, ``tokens`` ``(B, T, N, C)``.
        tiled_rope: the rotation of released V-JEPA 2 weights, see ``Rope3D``.
        tuned: what is trained of it: ``all``, a number k for the last k blocks and the final norm,
            ``norms_and_biases``, or ``lora`` for low-rank updates of the attention; their settings
            as ``dict(lora=dict(rank=8, alpha=16))``, see :func:`add_lora`.
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
        tuned: str | int | dict = 'all',
        init_cfg: dict | None = None,
    ):
        arch = resolve_arch(arch)
        super().__init__(
            arch['embed_dims'], arch['depth'], img_size, patch_size, tubelet_size, output, init_cfg
        )
        self.num_heads, self.mlp_ratio = arch['num_heads'], arch['mlp_ratio']
        self.causal = self.streams = causal
        self.tiled_rope = tiled_rope
        self.patch_embed = TubeletEmbed(patch_size, tubelet_size, self.embed_dims)
        self.rope = Rope3D(self.embed_dims // self.num_heads, tiled_frequencies=tiled_rope)
        drops = torch.linspace(0, drop_path_rate, self.depth, device='cpu').tolist()
        self.blocks = nn.ModuleList(
            CausalBlock(self.embed_dims, self.num_heads, self.mlp_ratio, drop) for drop in drops
        )
        set_recompute(self.blocks, with_cp)
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        self._freeze(tuned)

    def _freeze(self, tuned: str | int | dict) -> None:
        """Leave gradients to what ``tuned`` names."""
        if tuned == 'all':
            return
        if tuned == 'lora' or (isinstance(tuned, Mapping) and list(tuned) == ['lora']):
            add_lora(self, **(tuned['lora'] if isinstance(tuned, Mapping) else {}))
            return
        if tuned == 'norms_and_biases':
            chosen = [p for p in self.parameters() if p.ndim == 1]
        elif type(tuned) is int and 0 <= tuned <= self.depth:
            parts = [*self.blocks[self.depth - tuned :], self.norm]
            chosen = [p for part in parts for p in part.parameters()]
        else:
            raise ValueError(
                f"tuned={tuned!r} of CausalViT is not 'all', 'norms_and_biases', 'lora', "
                f'dict(lora=dict(...)) or a number of blocks from 0 to {self.depth}'
            )
        self.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)

    def init_weights(self) -> None:
        """Initialise, then load ``init_cfg`` if there is one."""
        init_transformer(self, self.blocks)
        reset_lora(self)
        super().init_weights()

    @classmethod
    def still(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Without stochastic depth, recomputation and partial training."""
        return super().still(settings) | dict(drop_path_rate=0.0, with_cp=False, tuned='all')

    def encode_patches(
        self,
        patches: Tensor,
        grid: TokenGrid,
        visible: Tensor | None = None,
        last: int = 1,
        cache: FrameCache | None = None,
    ) -> list[Tensor]:
        """Encode the visible patches of every tubelet, see ``VideoEncoder``."""
        self.check_last(last)
        x = self.patch_embed(gather_patches(patches, visible, grid.tubelets))
        rope = self.rope(grid, visible, first_tubelet=cache.seen if cache else 0)
        shape = x.shape
        if not self.causal:
            x = x.flatten(1, 2)[:, None]  # one "tubelet" of all tokens: nothing is hidden
        outputs = []
        for depth, block in enumerate(self.blocks):
            # Not through __call__: a compiled block would be compiled anew for every tubelet.
            x = block(x, rope) if cache is None else block.run(x, rope, cache.causal(depth))
            if depth >= self.depth - last:
                outputs.append(self.norm(x.reshape(shape)))  # no view: FSDP hooks it
        if cache is not None:
            cache.advance(grid.tubelets)
        return outputs
