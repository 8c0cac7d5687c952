"""Our encoder for everybody else: safetensors out of a checkpoint, and a model card."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from nextvid_mm.files import replace_when_complete
from nextvid_mm.models.checkpoints.encoder import (
    EXPORT_KEY,
    EncoderOrigin,
    load_encoder,
    read_checkpoint,
    stored_backbone,
)
from nextvid_mm.registry import MODELS
from nextvid_mm.version import __version__

from .model_card import write_card
from .timm_models import timm_name

# What changes neither the weights nor what they compute is left to whoever builds the encoder.
TRAINING_KEYS = ('drop_path_rate', 'with_cp', 'init_cfg', 'output')


def export_encoder(path: str | Path, output: str | Path, weights: str = 'reference') -> Path:
    """Write the encoder of a checkpoint to ``output`` and a model card beside it.

    The names of the weights are those of ``CausalViT`` and of the timm models; the metadata say
    how to build it, so that probes and feature extraction read the file as well.

    Args:
        path: a pretraining checkpoint of ours.
        output: a ``.safetensors`` file.
        weights: ``reference`` for the EMA encoder, ``encoder`` for the trained one.

    Returns:
        The model card's path.

    Raises:
        ValueError: if the file has no such encoder or does not say how it is built.
    """
    output = Path(output)
    if output.suffix != '.safetensors':
        raise ValueError(f'the output of --to safetensors must end in .safetensors, found {output}')
    checkpoint = read_checkpoint(path)
    backbone = stored_backbone(checkpoint)
    if backbone is None or backbone.get('type', '').split('.')[-1] != 'CausalViT':
        found = 'no encoder' if backbone is None else f'a {backbone.get("type")}'
        raise ValueError(
            f'{path} records {found}; --from nextvid exports the CausalViT of a pretraining '
            'checkpoint'
        )
    backbone = {key: value for key, value in backbone.items() if key not in TRAINING_KEYS}
    encoder = MODELS.build(dict(backbone))
    origin = load_encoder(encoder, backbone, path, weights)
    name = timm_name(backbone)
    state = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    with replace_when_complete(output) as temporary:
        save_file(state, temporary, metadata=_metadata(origin, name))
    count = sum(value.numel() for value in state.values())
    return write_card(output, origin, checkpoint.get('meta', {}), name, count)


def _metadata(origin: EncoderOrigin, name: str | None) -> dict[str, str]:
    """What a safetensors file may hold beside weights: text only."""
    description = dict(
        backbone=origin.backbone,
        step=origin.step,
        weights=origin.weights,
        sha256=origin.sha256,
        version=__version__,
    )
    named = {} if name is None else dict(architecture=name)
    return {'format': 'pt', EXPORT_KEY: json.dumps(description), **named}
