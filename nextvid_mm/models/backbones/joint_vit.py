"""Video ViTs of other projects, in which every token attends to every other one.

Shape legend: B batch, T tubelets, H and W patches, N = H * W tokens per tubelet, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nextvid_mm.layers import (
    CausalBlock,
    Rope3D,
    RopeTable,
    TokenGrid,
    TubeletEmbed,
    init_transformer,
    patchify,
    resolve_arch,
)
from nextvid_mm.registry import MODELS

from .base import ClipEncoder
from .pixels import PixelNorm

POSITIONS = ('sinusoid', 'learned', 'rope', 'tiled_rope')


@MODELS.register_module()
class JointViT(ClipEncoder):
    """Vision transformer with joint space-time attention: VideoMAE, V-JEPA and V-JEPA 2.

    For frozen features of published weights, converted by ``tools/convert_checkpoint.py``. Clips
    come in this project's scale, [-1, 1]; the encoder's own normalisation is applied inside.

    Args:
        arch: as in ``CausalViT``.
        positions: ``sinusoid`` numbers all tokens of a clip from first to last (VideoMAE);
            ``learned`` is a table in the weights (V-JEPA); ``rope`` and ``tiled_rope`` rotate
            queries and keys, the latter as the released V-JEPA 2 does, see ``Rope3D``.
        pretrain_size: pixels per side in pretraining. Sinusoids of other sizes are interpolated
            within a tubelet, learned tables in space and time.
        pretrain_frames: video frames of a clip in pretraining.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames per token.
        rope_span: see ``Rope3D`` (V-JEPA 2.1).
        final_norm: normalise the tokens. Fine-tuned VideoMAE has no such layer.
        norm_eps: added to variances by all norms.
        mean: of the colours in [0, 1] that the encoder was trained with.
        std: their standard deviation.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        arch: str | dict,
        positions: str = 'sinusoid',
        pretrain_size: int = 224,
        pretrain_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
        rope_span: int | None = None,
        final_norm: bool = True,
        norm_eps: float = 1e-6,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        init_cfg: dict | None = None,
    ):
        arch = resolve_arch(arch)
        super().__init__(
            arch['embed_dims'],
            arch['depth'],
            pretrain_size,
            patch_size,
            tubelet_size,
            init_cfg=init_cfg,
        )
        if positions not in POSITIONS:
            raise ValueError(
                f'positions={positions!r} of JointViT is not one of {", ".join(POSITIONS)}'
            )
        self.positions = positions
        self.pretrain_grid = TokenGrid.of_clip(
            torch.Size([pretrain_frames, pretrain_size, pretrain_size]), patch_size, tubelet_size
        )
        self.pixels = PixelNorm(mean, std)
        self.patch_embed = TubeletEmbed(patch_size, tubelet_size, self.embed_dims)
        self.head_dim = self.embed_dims // arch['num_heads']
        if positions == 'learned':
            tokens = self.pretrain_grid.tubelets * self.pretrain_grid.patches
            self.pos_embed = nn.Parameter(torch.zeros(1, tokens, self.embed_dims))
        elif positions != 'sinusoid':
            tiled = positions == 'tiled_rope'
            self.rope = Rope3D(self.head_dim, tiled_frequencies=tiled, span=rope_span)
        self.blocks = nn.ModuleList(
            CausalBlock(self.embed_dims, arch['num_heads'], arch['mlp_ratio'])
            for _ in range(self.depth)
        )
        self.norm = nn.LayerNorm(self.embed_dims) if final_norm else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = norm_eps

    def init_weights(self) -> None:
        """Initialise, then load ``init_cfg`` if there is one."""
        init_transformer(self, self.blocks)
        super().init_weights()

    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """Tokens of the last blocks, each through the final norm, see ``ClipEncoder``."""
        self.check_last(last)
        grid = self.grid_of(clip)
        patches = patchify(self.pixels(clip), self.patch_size, self.tubelet_size)
        # One "tubelet" of all tokens: the causal block then hides nothing.
        x = self.patch_embed(patches).flatten(1, 2)[:, None]
        x, rope = self._place(x, grid)
        outputs = []
        for depth, block in enumerate(self.blocks):
            x = block(x, rope)
            if depth >= self.depth - last:
                outputs.append(self.norm(x)[:, 0].unflatten(1, (grid.tubelets, grid.patches)))
        return outputs

    def _place(self, x: Tensor, grid: TokenGrid) -> tuple[Tensor, RopeTable]:
        """Add absolute positions, or give the rotation by which relative ones enter."""
        if 'rope' in self.positions:
            return x, self.rope(grid)
        still = x.new_ones(1, 1, 1, self.head_dim)
        if self.positions == 'learned':
            table = _resample(self.pos_embed, self.pretrain_grid, grid)
        else:
            table = self._sinusoids(grid)
        return x + table.to(x), RopeTable(still, torch.zeros_like(still))

    def _sinusoids(self, grid: TokenGrid) -> Tensor:
        """Positions ``(1, T * N, C)``; longer clips go on counting."""
        native = self.pretrain_grid.with_tubelets(grid.tubelets)
        table = sinusoid_table(native.tubelets * native.patches, self.embed_dims)
        if native == grid:
            return table
        planes = table.view(native.tubelets, native.height, native.width, -1).permute(0, 3, 1, 2)
        planes = interpolate(planes, size=(grid.height, grid.width), mode='bicubic')
        return planes.permute(0, 2, 3, 1).reshape(1, -1, self.embed_dims)


def sinusoid_table(length: int, channels: int) -> Tensor:
    """Sines on even and cosines on odd channels (arXiv 1706.03762, §3.5): ``(1, length, C)``."""
    exponent = torch.arange(0, channels, 2, dtype=torch.float64) / channels
    angle = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0**-exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[None].float()


def _resample(table: Tensor, stored: TokenGrid, grid: TokenGrid) -> Tensor:
    """Learned positions ``(1, L, C)`` for another grid: stretched over it in space and time."""
    if stored == grid:
        return table
    cube = table.view(1, stored.tubelets, stored.height, stored.width, -1).permute(0, 4, 1, 2, 3)
    size = (grid.tubelets, grid.height, grid.width)
    return interpolate(cube, size=size, mode='trilinear').flatten(2).transpose(1, 2)
