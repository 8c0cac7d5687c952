"""Our encoders as timm models; importing this module registers them. It needs no OpenMMLab library.

``timm.create_model('nextvid_vit_large_patch16_256', checkpoint_path='encoder.safetensors')`` loads
what ``tools/convert_checkpoint.py --to safetensors`` has written.

Shape legend: B batch, T tubelets, N patches per tubelet, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextvid_mm.layers import (
    ARCHITECTURES,
    CausalBlock,
    Rope3D,
    TokenGrid,
    TubeletEmbed,
    init_transformer,
    patchify,
    resolve_arch,
)

# Image size and architecture of every name.
MODELS_OF_NAME: dict[str, tuple[int, dict[str, Any]]] = {
    f'nextvid_vit_{size}_patch16_{pixels}': (pixels, arch)
    for size, arch in ARCHITECTURES.items()
    for pixels in ([64] if size == 'tiny' else [256])
}
POOLS = ('avg', '')

default_cfgs = generate_default_cfgs(
    {
        name: dict(
            input_size=(3, size, size),
            num_classes=0,
            crop_pct=1.0,
            interpolation='bicubic',
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            classifier='head',
            license='apache-2.0',
        )
        for name, (size, _) in MODELS_OF_NAME.items()
    }
)


class NextVidViT(nn.Module):
    """The causal video ViT behind timm's interface, for clips and for images.

    The network and the names of the weights are those of ``CausalViT``, from the same layers;
    PyTorch, timm and einops are all it needs. An image is a static clip of one tubelet. Pixels are
    in [-1, 1] (timm's mean and std of 0.5).

    Args:
        arch: as in ``CausalViT``.
        img_size: pixels per side, one number or two equal ones; other sizes work in ``forward``.
        num_classes: outputs of a linear classifier; 0 for none.
        global_pool: ``avg`` over all tokens, or an empty string for tokens.
        drop_path_rate: as in ``CausalViT``.
        drop_rate: dropout before the classifier.
        in_chans: 3, the only number the encoder has.
    """

    patch_size, tubelet_size = 16, 2

    def __init__(
        self,
        arch: str | dict,
        img_size: int | tuple[int, int] = 256,
        num_classes: int = 0,
        global_pool: str = 'avg',
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        in_chans: int = 3,
    ):
        super().__init__()
        if in_chans != 3:
            raise ValueError(f'in_chans={in_chans}: NextVid encoders have 3 colours')
        arch = resolve_arch(arch)
        width, heads, depth = arch['embed_dims'], arch['num_heads'], arch['depth']
        self.img_size = img_size if isinstance(img_size, int) else img_size[0]
        self.embed_dims = self.num_features = self.head_hidden_size = width
        self.patch_embed = TubeletEmbed(self.patch_size, self.tubelet_size, width)
        self.rope = Rope3D(width // heads)
        drops = torch.linspace(0, drop_path_rate, depth, device='cpu').tolist()
        self.blocks = nn.ModuleList(
            CausalBlock(width, heads, arch['mlp_ratio'], drop) for drop in drops
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.grad_checkpointing = False
        self.head_drop = nn.Dropout(drop_rate)
        self.global_pool = global_pool
        self.reset_classifier(num_classes, global_pool)
        init_transformer(self, self.blocks)

    def get_classifier(self) -> nn.Module:
        """The linear classifier, or an identity."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Exchange the classifier for a new one."""
        if global_pool not in (None, *POOLS):
            raise ValueError(f'global_pool={global_pool!r} is not one of {list(POOLS)}')
        if global_pool is not None:
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = nn.Linear(self.embed_dims, num_classes) if num_classes else nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass."""
        self.grad_checkpointing = enable

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised tokens ``(B, T * N, C)``.

        Args:
            x: images ``(B, 3, height, width)`` or clips ``(B, 3, T_video, height, width)``.
        """
        clip = x[:, :, None].expand(-1, -1, self.tubelet_size, -1, -1) if x.dim() == 4 else x
        grid = TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)
        patches = patchify(clip, self.patch_size, self.tubelet_size)[:, : grid.frames]
        tokens, rope = self.patch_embed(patches), self.rope(grid)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, rope, use_reentrant=False)
            else:
                tokens = block(tokens, rope)
        return self.norm(tokens).flatten(1, 2)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool tokens ``(B, T * N, C)`` and classify, or stop before with ``pre_logits``."""
        x = self.head_drop(x.mean(dim=1) if self.global_pool == 'avg' else x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, num_classes)``; pooled features ``(B, C)`` without a classifier."""
        return self.forward_head(self.forward_features(x))


def _register(name: str) -> None:
    """Give timm a function called ``name`` that builds the model."""

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if kwargs.pop('features_only', False):
            raise ValueError(
                f'{name} has no features_only: use forward_features, or CausalViT itself'
            )
        size, arch = MODELS_OF_NAME[name]
        settings = dict(arch=arch, img_size=size) | kwargs
        return build_model_with_cfg(NextVidViT, name, pretrained, **settings)

    create.__name__ = name
    register_model(create)


for _name in MODELS_OF_NAME:
    _register(_name)
