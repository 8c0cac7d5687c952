"""What autograd keeps for the backward pass, counted without doing the work.

The model's own code runs under PyTorch's fake tensors, which have shapes but no data. Two things
are changed for that, because fake tensors stand on a CPU: attention stays in bfloat16, a frame at a
time, and normalisation runs in float32, as under CUDA's autocast.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import group_norm, layer_norm
from torch.utils.hooks import RemovableHandle

from nextvid_mm.layers import BatchMask, ClipBatch, prefix
from nextvid_mm.models.part import replace_blocks
from nextvid_mm.registry import MODELS, SCOPE, TRANSFORMS

AUTOCAST: torch.dtype | None = torch.bfloat16
PARTS = ('backbone', 'neck', 'head')


@dataclass(frozen=True)
class Activations:
    """Bytes per clip."""

    kept: int  # at the end of the forward pass
    recomputed: int = 0  # what the largest block adds meanwhile; 0 without checkpointing


def build_on_meta(model: Mapping[str, Any]) -> nn.Module:
    """Build a config's model without memory for its weights."""
    with DefaultScope.overwrite_default_scope(SCOPE), torch.device('meta'):
        return MODELS.build(copy.deepcopy(dict(model)))


def visible_patches(pipeline: Sequence[Mapping[str, Any]], img_size: int) -> list[int]:
    """Visible patches per frame of each masking strategy in a mixture's pipeline of transforms.

    Raises:
        ValueError: If the pipeline draws no masks.
    """
    settings = next((dict(t) for t in pipeline if t['type'].endswith('FrameIsolatedMasking')), None)
    if settings is None:
        raise ValueError('train_dataloader.dataset.pipeline has no FrameIsolatedMasking')
    with DefaultScope.overwrite_default_scope(SCOPE):
        masking = TRANSFORMS.build(settings)
    return masking.num_visible(masking.grid_of((img_size, img_size)))


class ActivationCounter:
    """Counts activations of a ``NextVid`` under bfloat16 autocast.

    Args:
        config: The model.
        visible: Visible patches per frame of each masking strategy, see :func:`visible_patches`.
    """

    def __init__(self, config: Mapping[str, Any], visible: Sequence[int]) -> None:
        self.visible = list(visible)
        self.model = model = build_on_meta(config)
        self._counted: dict[tuple[Any, ...], Activations] = {}
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        if model.head is not None:
            model.target_generator = _Targets(model.target_generator.channels, model.backbone)
        with self._mode:
            model.to_empty(device='cpu')
        self.parts = {n: getattr(model, n).trunk for n in PARTS if getattr(model, n) is not None}
        self.blocks = {name: list(part.blocks) for name, part in self.parts.items()}
        if model.reference is not None:  # it keeps nothing: one block is enough for the shapes
            trunk = model.reference.encoder.trunk
            replace_blocks(trunk, list(trunk.blocks)[:1])

    def count(
        self, num_frames: int, tau_samples: int, checkpointing: Sequence[str] = PARTS
    ) -> Activations:
        """Count for one clip.

        Blocks of a network are equal, so networks of one and of two blocks tell the rest.

        Args:
            num_frames: Video frames of the clip.
            tau_samples: Of the stage.
            checkpointing: Those of :data:`PARTS` that recompute their blocks (``with_cp``).

        Raises:
            ValueError: If a name is not among :data:`PARTS`.
        """
        if unknown := set(checkpointing) - set(PARTS):
            raise ValueError(f'checkpointing={sorted(unknown)}: not among {PARTS}')
        if self.model.head is not None:
            self.model.head.tau_samples = tau_samples
        key = (num_frames, tau_samples, *checkpointing)
        if key not in self._counted:
            self._counted[key] = self._count(num_frames, checkpointing)
        return self._counted[key]

    def _count(self, num_frames: int, checkpointing: Sequence[str]) -> Activations:
        chosen = [name for name in self.parts if name in checkpointing]
        single = self._per_clip(num_frames, chosen)['all']
        kept = single
        for name, blocks in self.blocks.items():
            kept += (len(blocks) - 1) * (self._per_clip(num_frames, chosen, name)['all'] - single)
        full = self._per_clip(num_frames, ()) if chosen else {}
        return Activations(kept, max((full[name] for name in chosen), default=0))

    def _per_clip(
        self, num_frames: int, checkpointing: Sequence[str], longer: str | None = None
    ) -> dict[str, int]:
        """What two clips keep less what one keeps, with one block per part, two in ``longer``."""
        for name, part in self.parts.items():
            part.with_cp = name in checkpointing
            replace_blocks(part, self.blocks[name][: 2 if name == longer else 1])
        one, two = (self._kept(clips, num_frames) for clips in (1, 2))
        return {name: two[name] - one[name] for name in two}

    def _kept(self, clips: int, num_frames: int) -> dict[str, int]:
        """Bytes a forward pass makes autograd keep: ``all``, and in the first block of a part."""
        encoder, tally = self.model.backbone, _Tally(self.model)
        masks = [
            _mask(count, (encoder.img_size // encoder.patch_size) ** 2) for count in self.visible
        ]
        expanded = [BatchMask(*(part.expand(clips, -1) for part in mask)) for mask in masks]
        batch = ClipBatch.of([dict(sample_seed=n) for n in range(clips)], expanded)
        hooks = saved_tensors_hooks(tally.keep, lambda tensor: tensor)
        autocast = torch.autocast('cpu', AUTOCAST, enabled=AUTOCAST is not None)
        with self._mode, as_on_cuda(), autocast, hooks:
            passes = {name: tally.watch(part.blocks[0]) for name, part in self.parts.items()}
            clip = torch.zeros(clips, 3, num_frames, encoder.img_size, encoder.img_size)
            losses = self.model(clip[:, None], batch, mode='loss')
        tally.unwatch()
        del losses
        return {name: max(seen) for name, seen in passes.items()} | dict(all=tally.total)


class _Tally:
    """Adds up storages that autograd keeps, each once and weights left out."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = {_storage(p) for p in model.parameters()}
        self.kept: dict[int, Tensor] = {}  # the tensors stay, or a storage's address might return
        self.total = 0
        self.hooks: list[RemovableHandle] = []

    def keep(self, tensor: Tensor) -> Tensor:
        """Take note of a tensor."""
        place = _storage(tensor)
        if place not in self.weights and place not in self.kept:
            self.kept[place] = tensor
            self.total += tensor.untyped_storage().nbytes()
        return tensor

    def watch(self, block: nn.Module) -> list[int]:
        """A list that gets what each pass through ``block`` makes autograd keep."""
        passes: list[int] = []
        before = block.register_forward_pre_hook(lambda *_: passes.append(-self.total))
        after = block.register_forward_hook(lambda *_: passes.append(passes.pop() + self.total))
        self.hooks += [before, after]
        return passes

    def unwatch(self) -> None:
        """Leave the blocks as they were."""
        for hook in self.hooks:
            hook.remove()


class _Targets(nn.Module):
    """Targets of the right shape: the generator, being frozen, leaves nothing for backward."""

    def __init__(self, channels: int, encoder: nn.Module) -> None:
        super().__init__()
        self.channels = channels
        self.grid_of = encoder.grid_of

    def forward(self, clip: Tensor, batch: ClipBatch) -> Tensor:
        """``(B, T-1, N, C)`` of a clip ``(B, 3, T_video, height, width)``."""
        grid = self.grid_of(clip)
        return clip.new_zeros(len(clip), grid.frames - 1, grid.patches, self.channels)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _mask(visible: int, patches: int) -> tuple[Tensor, Tensor]:
    order = torch.arange(patches)
    return order[:visible], order[visible:] if visible < patches else order


def _norm_in_float32(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    if not torch.is_autocast_enabled('cpu'):
        return layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return layer_norm(x.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _group_norm_in_float32(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    if torch.is_autocast_enabled('cpu'):
        x = x.float()
    return group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Let fake tensors, which stand on a CPU, go the ways of CUDA under autocast."""
    norm = patch.object(nn.LayerNorm, 'forward', _norm_in_float32)
    groups = patch.object(nn.GroupNorm, 'forward', _group_norm_in_float32)
    with patch.object(prefix, 'way_of', lambda _: prefix.GPU), norm, groups:
        yield
