"""Our encoders as timm models; importing this module registers them. It needs no OpenMMLab library.

``timm.create_model('nextvid_vit_large_patch16_256', checkpoint_path='encoder.safetensors')`` loads
what ``tools/convert_checkpoint.py --to safetensors`` has written.

Shape legend: B batch, T tubelets, N patches per tubelet, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
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
        self.feature_info = [
            dict(module=f'blocks.{n}', num_chs=width, reduction=self.patch_size)
            for n in range(depth)
        ]
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

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay besides norms and biases: none."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of layers, from stem to norm, by which timm decays learning rates."""
        blocks = r'^blocks' if coarse else [(r'^blocks\.(\d+)', None), (r'^norm', (99999,))]
        return dict(stem=r'^patch_embed', blocks=blocks)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised tokens ``(B, T * N, C)``.

        Args:
            x: images ``(B, 3, height, width)`` or clips ``(B, 3, T_video, height, width)``.
        """
        return self.norm(self._run(x, set())[0])

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Any:
        """Tokens of some blocks, as timm's ViTs give them.

        Args:
            x: images or clips, as in ``forward_features``.
            indices: numbers of blocks, or how many of the last; None for all.
            norm: apply the final norm to each.
            stop_early: leave out the blocks behind the last of them.
            output_fmt: ``NLC`` for ``(B, T * N, C)``; ``NCHW`` for ``(B, C, height, width)`` of
                images and ``(B, C, T, height, width)`` of clips, in patches.
            intermediates_only: give only these, and not the normalised tokens before them.

        Returns:
            A list, or tokens ``(B, T * N, C)`` and the list.

        Raises:
            ValueError: for another format.
        """
        if output_fmt not in ('NCHW', 'NLC'):
            raise ValueError(f"output_fmt={output_fmt!r} is not 'NCHW' or 'NLC'")
        taken, last = feature_take_indices(len(self.blocks), indices)
        tokens, found = self._run(x, set(taken), last + 1 if stop_early else None)
        if norm:
            found = [self.norm(y) for y in found]
        if output_fmt == 'NCHW':
            height, width = (side // self.patch_size for side in x.shape[-2:])
            shape = (height, width) if x.dim() == 4 else (-1, height, width)
            found = [y.transpose(1, 2).unflatten(2, shape) for y in found]
        return found if intermediates_only else (self.norm(tokens), found)

    def get_intermediate_layers(
        self, x: Tensor, n: int | list[int] = 1, reshape: bool = False, norm: bool = False
    ) -> tuple[Tensor, ...]:
        """Tokens of the last ``n`` blocks, or of those numbered ``n``, as DINO has it."""
        form = 'NCHW' if reshape else 'NLC'
        return tuple(self.forward_intermediates(x, n, norm, True, form, True))

    def _run(
        self, x: Tensor, taken: set[int], stop: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Tokens ``(B, T * N, C)`` of the last block, and of those that are ``taken``."""
        clip = x[:, :, None].expand(-1, -1, self.tubelet_size, -1, -1) if x.dim() == 4 else x
        grid = TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)
        patches = patchify(clip, self.patch_size, self.tubelet_size)[:, : grid.tubelets]
        tokens, rope = self.patch_embed(patches), self.rope(grid)
        found = []
        for number, block in enumerate(self.blocks[:stop]):
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, rope, use_reentrant=False)
            else:
                tokens = block(tokens, rope)
            if number in taken:
                found.append(tokens.flatten(1, 2))
        return tokens.flatten(1, 2), found

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
