"""What autograd keeps for the backward pass, counted without doing the work.

The model's own code runs under PyTorch's fake tensors, which have shapes but no data. Two things
are changed for that, because fake tensors stand on a CPU: attention stays in bfloat16, a frame at a
time, and normalisation runs in float32, as under CUDA's autocast.
"""

from __future__ import annotations

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

from nextvid_mm.layers import BatchMask, ClipBatch, prefix, set_recompute
from nextvid_mm.models.part import replace_blocks
from nextvid_mm.registry import MODELS, SCOPE, TRANSFORMS

AUTOCAST: torch.dtype | None = torch.bfloat16
PARTS = ('backbone', 'neck', 'head')


@dataclass(frozen=True)
class Activations:
    """Bytes per clip."""

    kept: int  # at the end of the forward pass
    recomputed: int = 0  # what the largest block adds meanwhile; 0 without recomputation


@dataclass(frozen=True)
class _Kept:
    """Bytes per clip that are kept by each part's blocks, outside of them, by a block at most."""

    parts: dict[str, int]
    rest: int
    largest: dict[str, int]


def build_on_meta(model: Mapping[str, Any]) -> nn.Module:
    """Build a config's model without memory for its weights, and without compiling it."""
    settings = copy.deepcopy(dict(model))
    if 'compile' in settings:
        settings['compile'] = False
    with DefaultScope.overwrite_default_scope(SCOPE), torch.device('meta'):
        return MODELS.build(settings)


def recompute_of(model: Mapping[str, Any]) -> dict[str, bool | str]:
    """``with_cp`` of a config's model, by names of :data:`PARTS`."""
    networks = dict(backbone=model['backbone'], neck=model['neck'])
    networks['head'] = (model.get('head') or {}).get('decoder') or {}
    return {name: network.get('with_cp', False) for name, network in networks.items()}


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
        self._counted: dict[tuple[Any, ...], _Kept] = {}
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        if model.target_generator is not None:
            model.target_generator = _Targets(model.target_generator.channels, model.backbone)
        with self._mode:
            model.to_empty(device='cpu')
        trunks = {n: getattr(model, n).trunk for n in PARTS if getattr(model, n) is not None}
        self.parts = {name: trunk for name, trunk in trunks.items() if len(trunk.blocks)}
        self.blocks = {name: list(part.blocks) for name, part in self.parts.items()}
        if model.reference is not None:  # it keeps nothing: one block is enough for the shapes
            trunk = model.reference.encoder.trunk
            replace_blocks(trunk, list(trunk.blocks)[:1])

    def count(
        self, num_frames: int, tau_samples: int, recompute: Mapping[str, bool | str] | None = None
    ) -> Activations:
        """Count for one clip. Compiled blocks keep about as much, more or less.

        Blocks of a network are equal, so the second of two tells the rest.

        Args:
            num_frames: Video frames of the clip.
            tau_samples: Of the stage.
            recompute: ``with_cp`` by names of :data:`PARTS`; those left out keep everything.

        Raises:
            ValueError: If a name is not among :data:`PARTS`.
        """
        recompute = recompute or {}
        if unknown := set(recompute) - set(PARTS):
            raise ValueError(f'recompute={sorted(unknown)}: not among {PARTS}')
        if self.model.head is not None:
            self.model.head.tau_samples = tau_samples
        plain = self._of(num_frames, tau_samples, False)
        found = Activations(plain.rest)
        for name in self.parts:
            chosen = self._of(num_frames, tau_samples, recompute.get(name, False))
            again = plain.largest[name] - chosen.largest[name]
            found = Activations(found.kept + chosen.parts[name], max(found.recomputed, again))
        return found

    def _of(self, num_frames: int, tau_samples: int, with_cp: bool | str) -> _Kept:
        """What a clip makes autograd keep with the same recomputation everywhere."""
        key = (num_frames, tau_samples, with_cp)
        if key not in self._counted:
            for name, part in self.parts.items():
                set_recompute(self.blocks[name], with_cp)
                replace_blocks(part, self.blocks[name][:2])
            one, two = (self._kept(clips, num_frames) for clips in (1, 2))
            self._counted[key] = self._extended(
                {name: two[name] - one[name] for name in two}  # less what no clip needs
            )
        return self._counted[key]

    def _extended(self, kept: Mapping[Any, int]) -> _Kept:
        """From two blocks of every network to all."""
        parts, rest = {}, kept['all']
        for name, blocks in self.blocks.items():
            few = [kept[name, number] for number in range(len(blocks[:2]))]
            rest -= sum(few)
            parts[name] = few[0] + (len(blocks) - 1) * few[-1]
        return _Kept(parts, rest, {name: kept[name, 'largest'] for name in self.blocks})

    def _kept(self, clips: int, num_frames: int) -> dict[Any, int]:
        """Bytes a forward pass makes autograd keep: in all, and in the first blocks of a part."""
        encoder, tally = self.model.backbone, _Tally(self.model)
        masks = [
            _mask(count, (encoder.img_size // encoder.patch_size) ** 2) for count in self.visible
        ]
        expanded = [BatchMask(*(part.expand(clips, -1) for part in mask)) for mask in masks]
        batch = ClipBatch.of([dict(sample_seed=n) for n in range(clips)], expanded)
        hooks = saved_tensors_hooks(tally.keep, lambda tensor: tensor)
        autocast = torch.autocast('cpu', AUTOCAST, enabled=AUTOCAST is not None)
        with self._mode, as_on_cuda(), autocast, hooks:
            passes = {
                (name, number): tally.watch(block)
                for name, part in self.parts.items()
                for number, block in enumerate(part.blocks)
            }
            clip = torch.zeros(clips, 3, num_frames, encoder.img_size, encoder.img_size)
            losses = self.model(clip[:, None], batch, mode='loss')
        tally.unwatch()
        del losses
        sums: dict[Any, int] = {place: sum(seen) for place, seen in passes.items()}
        sums |= {(name, 'largest'): max(seen) for (name, _), seen in passes.items()}
        return sums | dict(all=tally.total)


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
        return clip.new_zeros(len(clip), grid.tubelets - 1, grid.patches, self.channels)


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
