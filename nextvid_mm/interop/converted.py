"""What a converter hands over, checked and saved as one of ours, and what converters share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from nextvid_mm.checks import check_count
from nextvid_mm.files import replace_when_complete
from nextvid_mm.layers import check_state, load_exactly
from nextvid_mm.registry import MODELS
from nextvid_mm.version import __version__


@dataclass(frozen=True)
class Converted:
    """An encoder out of somebody else's checkpoint.

    Attributes:
        backbone: config of the encoder.
        state: its weights, under the names of that encoder.
        dropped: names of what the file holds besides: heads, decoders, predictors.
        source: format and file, for the record.
        note: which of several state dicts of the file was taken; empty if it holds one.
        probes: config and weights of a ``ProbeHead`` trained on this encoder; None without.
    """

    backbone: dict[str, Any]
    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    source: str
    note: str = ''
    probes: tuple[dict[str, Any], dict[str, Tensor]] | None = None

    def check(self) -> None:
        """Compare every name and shape with the encoder's, without making it.

        Raises:
            ValueError: with the first tensors that differ and both shapes.
        """
        with torch.device('meta'):
            expected = MODELS.build(dict(self.backbone)).state_dict()
        check_state(self.state, expected, self.source)

    def build(self) -> BaseModule:
        """The encoder itself, in evaluation mode."""
        encoder = MODELS.build(dict(self.backbone))
        load_exactly(encoder, self.state, self.source)
        return encoder.eval()

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that probes and feature extraction read as they read our own."""
        self.check()
        settings, state = f'backbone={self.backbone!r}', None
        if self.probes is not None:
            settings += f', cls_head={self.probes[0]!r}'
            state = self._probe_state()
        checkpoint = dict(
            state_dict=state or {f'backbone.{name}': value for name, value in self.state.items()},
            meta=dict(
                cfg=f'model = dict({settings})\n',
                converted_from=self.source,
                nextvid_mm_version=__version__,
            ),
        )
        with replace_when_complete(path) as temporary:
            torch.save(checkpoint, temporary)

    def _probe_state(self) -> dict[str, Any]:
        """Weights of the ``ProbeRecognizer`` that encoder and probes make up."""
        assert self.probes is not None
        config, weights = self.probes
        head = dict(config, in_channels=self.backbone['arch']['embed_dims'])
        model = MODELS.build(dict(type='ProbeRecognizer', backbone=self.backbone, cls_head=head))
        load_exactly(model.backbone, self.state, self.source)
        load_exactly(model.cls_head.probes, weights, f'the probes for {self.source}')
        model.record_origin(self.source)
        return model.state_dict()


def split_off(
    state: Mapping[str, Tensor], unwanted: tuple[str, ...]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Part a state dict into what an encoder needs and the names under ``unwanted`` prefixes."""
    kept = {name: value for name, value in state.items() if not name.startswith(unwanted)}
    return kept, tuple(name for name in state if name not in kept)


def require(state: Mapping[str, Any], name: str, source: str) -> Tensor:
    """The tensor that tells a format.

    Raises:
        ValueError: if it is not there; the message says what is.
    """
    if not isinstance(state.get(name), Tensor):
        first = ', '.join(list(state)[:5]) or 'nothing'
        raise ValueError(
            f'{source}: there is no tensor {name}, so this is not the format given with --from; '
            f'the file holds {first}{", ..." if len(state) > 5 else ""}'
        )
    return state[name]


def infer_arch(
    state: Mapping[str, Tensor], heads_of_width: Mapping[int, int], source: str, heads: int | None
) -> dict[str, Any]:
    """Width, depth and MLP ratio from shapes; the heads, which no shape tells, from the width.

    Args:
        state: weights under the names of a ViT with ``blocks``.
        heads_of_width: number of heads of the published models.
        source: start of messages.
        heads: what the user says; None looks it up.
    """
    hidden, width = require(state, 'blocks.0.mlp.fc1.weight', source).shape
    if heads is not None:
        check_count(heads, '--heads')
    if heads is None and width not in heads_of_width:
        raise ValueError(
            f'{source}: no published model has the width {width} (known: '
            f'{", ".join(map(str, heads_of_width))}); say its number of heads with --heads'
        )
    numbers = [int(m[1]) for name in state if (m := re.match(r'blocks\.(\d+)\.', name))]
    return dict(
        embed_dims=width,
        depth=max(numbers) + 1,
        num_heads=heads or heads_of_width[width],
        mlp_ratio=hidden / width,
    )


def flatten_patch_embed(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], int, int]:
    """Turn the strided 3D convolution into the linear layer that computes the same.

    Returns:
        The state dict, the patch size in pixels and the tubelet size in video frames.
    """
    kernel = state['patch_embed.proj.weight']
    if kernel.dim() != 5:
        raise ValueError(
            f'patch_embed.proj.weight has shape {tuple(kernel.shape)}, expected a 3D convolution '
            '(width, 3, frames, rows, columns): image encoders are --from timm'
        )
    renamed = {name.replace('patch_embed.proj.', 'patch_embed.'): v for name, v in state.items()}
    renamed['patch_embed.weight'] = kernel.flatten(1)
    return renamed, kernel.shape[-1], kernel.shape[2]
