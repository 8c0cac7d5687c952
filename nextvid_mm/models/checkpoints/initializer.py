"""The ``init_cfg`` by which an encoder in somebody else's model starts from a file."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from torch import nn

from nextvid_mm.layers import load_exactly, with_updates
from nextvid_mm.registry import WEIGHT_INITIALIZERS

from .adapting import adapt_encoder
from .encoder import (
    PREFIXES,
    encoder_state,
    essential_config,
    read_checkpoint,
    stored_backbone,
    weights_there,
)


@WEIGHT_INITIALIZERS.register_module()
class EncoderWeights:
    """Loads an encoder's weights into the backbone it is the ``init_cfg`` of: all, and no others.

    Image size, stochastic depth and recomputation may differ from the pretraining.

    Args:
        checkpoint: a pretraining or fine-tuning checkpoint of ours, or a converted encoder.
        weights: ``reference`` for the EMA encoder, ``encoder`` for the trained one; None takes the
            reference where there is one.
        adapt: take an encoder of other patches, positions or attention, too, as a start for going
            on: see :func:`adapt_encoder`. The log says what is new to the weights.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it holds no encoder, or another one; names the file and what differs.
    """

    def __init__(self, checkpoint: str | None, weights: str | None = None, adapt: bool = False):
        if weights not in (None, *PREFIXES):
            raise ValueError(
                f'weights={weights!r} of EncoderWeights is not None or one of {list(PREFIXES)}'
            )
        self.checkpoint, self.weights, self.adapt = checkpoint, weights, adapt

    def __call__(self, module: nn.Module) -> None:
        """Fill ``module``."""
        if self.checkpoint is None:
            raise ValueError(
                'which encoder does it start from? --cfg-options '
                'model.backbone.init_cfg.checkpoint=PRETRAINED.pth, or '
                'model.backbone.init_cfg=None to train from scratch'
            )
        path = self.checkpoint
        content = read_checkpoint(path)
        weights = self.weights or next(iter(weights_there(content)), 'encoder')
        state = encoder_state(content, path, weights)
        stored = stored_backbone(content)
        if self.adapt:
            if stored is None:
                raise ValueError(
                    f'{path} does not say what its encoder is: convert published checkpoints with '
                    'tools/convert_checkpoint.py first'
                )
            state, notes = adapt_encoder(state, stored, module, path)
            for note in notes:
                print_log(f'{path}: {note}', 'current', logging.WARNING)
        elif stored is not None:
            _check_meaning(module, stored, path)
        state = with_updates(state, module)
        load_exactly(module, state, f'the encoder in {path} is not model.backbone')
        print_log(f'model.backbone starts from the {weights} weights of {path}', 'current')


def _check_meaning(module: nn.Module, stored: dict, path: str) -> None:
    """Raise if the stored encoder computes something else with the same weights."""
    own = getattr(module, '_hub_mixin_config', {})  # as for save_pretrained
    ours, theirs = _meaning(dict(own, type=type(module).__name__)), _meaning(stored)
    if different := [key for key in ours | theirs if ours.get(key) != theirs.get(key)]:
        lines = [
            f'{key}: {ours.get(key)!r} in model.backbone, {theirs.get(key)!r} in the file'
            for key in different
        ]
        raise ValueError(f'the encoder in {path} is not model.backbone; ' + '; '.join(lines))


def _meaning(config: dict) -> dict:
    """What decides what an encoder computes, each key of its architecture by itself."""
    settings = essential_config(config)
    settings |= settings.pop('arch', {}) | dict(type=str(config['type']).rpartition('.')[2])
    # Shapes say this, and may be rounded; stochastic depth and the like.
    return {k: v for k, v in settings.items() if k not in ('mlp_ratio', 'timm_kwargs')}
