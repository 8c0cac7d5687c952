"""Our encoder for everybody else: safetensors out of a checkpoint, and a model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from nextvid_mm.files import write_text
from nextvid_mm.layers import has_lora, merged
from nextvid_mm.models.backbones.causal_vit import CausalViT
from nextvid_mm.models.checkpoints import (
    EncoderOrigin,
    essential_config,
    hash_weights,
    open_encoder,
    read_checkpoint,
    stored_config,
)
from nextvid_mm.models.hub import own_card, require_own, write_weights
from nextvid_mm.version import __version__

from .timm_models import MODELS_OF_NAME

# What changes neither the weights nor what they compute is left to whoever builds the encoder.
TRAINING_KEYS = ('drop_path_rate', 'with_cp', 'init_cfg', 'output', 'tuned')
LIBRARIES = ('torch', 'mmengine', 'mmaction2', 'timm', 'safetensors')
UNKNOWN = 'not recorded in the checkpoint'
WEIGHTS = {'reference': 'EMA of the encoder (reference encoder)', 'encoder': 'trained encoder'}
CARD = """\
---
{{ card_data }}
---

# {{ title }}

{{ summary }}

## Use

{{ use }}

## Training stages

{{ stages }}

## Data

{{ data }}

## Versions

{{ versions }}

## Encoder configuration

```python
backbone = {{ backbone }}
```

## Limits

Frozen features of this file have not been evaluated by the export; `python tools/test.py` does so.
Training is self-supervised on the data above: what is rare there is represented poorly.
"""
USE_TIMM = """\
```python
import timm

import nextvid_mm.interop  # registers the model

model = timm.create_model('{name}', checkpoint_path='{file}').eval()
tokens = model.forward_features(clip)  # (B, 3, T, H, W) or (B, 3, H, W) -> (B, N, C)
```"""
USE_OURS = """\
No registered timm model has this architecture; build it from the configuration below:

```python
from nextvid_mm.inferencers import FeatureInferencer

features = FeatureInferencer('{file}')('video.mp4')
```"""


def export_encoder(path: str | Path, output: str | Path, weights: str = 'reference') -> Path:
    """Write the encoder of a checkpoint to ``output`` and a model card beside it.

    The names of the weights are those of ``CausalViT`` and of the timm models; the metadata say
    how to build it, so that probes and feature extraction read the file as well.

    Args:
        path: a pretraining checkpoint of ours.
        output: a ``.safetensors`` file.
        weights: ``reference`` for the EMA encoder, ``encoder`` for the trained one.

    Returns:
        Path of the model card.

    Raises:
        ValueError: if the file has no such encoder, does not say how it is built, or somebody
            else's file would be replaced.
    """
    output = Path(output)
    if output.suffix != '.safetensors':
        raise ValueError(f'the output of --to safetensors must end in .safetensors, found {output}')
    encoder, origin = open_encoder(path, weights)
    if has_lora(encoder):
        encoder = merged(encoder)
        origin = replace(origin, sha256=hash_weights(encoder))
    if not isinstance(encoder, CausalViT):
        raise ValueError(
            f'{path} records a {type(encoder).__name__}; --from nextvid exports the CausalViT of a '
            'pretraining checkpoint'
        )
    backbone = {key: value for key, value in origin.backbone.items() if key not in TRAINING_KEYS}
    origin = replace(origin, backbone=backbone)
    name = timm_name(backbone)
    for file in (output, output.with_suffix('.md')):
        require_own(file)
    description = {key: getattr(origin, key) for key in ('backbone', 'step', 'weights', 'sha256')}
    write_weights(encoder, output, description, {} if name is None else dict(architecture=name))
    state = encoder.state_dict()
    count = sum(value.numel() for value in state.values())
    return write_card(output, origin, read_checkpoint(path).get('meta', {}), name, count)


def timm_name(backbone: dict[str, Any]) -> str | None:
    """Which of the registered models an encoder's config is; None if it is none of them."""
    settings = essential_config(backbone)
    for name, (_, arch) in MODELS_OF_NAME.items():
        other = essential_config(dict(type='CausalViT', arch=arch))
        if settings == other:
            return name
    return None


def write_card(
    weights: Path,
    origin: EncoderOrigin,
    meta: Mapping[str, Any],
    name: str | None,
    parameters: int,
) -> Path:
    """Write the model card ``NAME.md`` beside ``NAME.safetensors``, in the Hugging Face Hub's form.

    Args:
        weights: the exported file.
        origin: which encoder it is.
        meta: ``meta`` of the checkpoint.
        name: of the timm model, if it is one.
        parameters: number of weights.
    """
    tags = ['video', 'self-supervised-learning', 'next-frame-prediction']
    library = 'nextvid_mm' if name is None else 'timm'
    card = ModelCard.from_template(
        ModelCardData(model_name=weights.stem, library_name=library, tags=tags),
        template_str=CARD,
        title=weights.stem,
        summary=_summary(origin, meta, parameters),
        use=(USE_TIMM if name else USE_OURS).format(name=name, file=weights.name),
        stages=_stages(meta.get('stages'), origin.step),
        data=_data(meta),
        versions=version_table(meta),
        backbone=repr(origin.backbone),
    )
    path = weights.with_suffix('.md')
    write_text(path, own_card(str(card)))
    return path


def _summary(origin: EncoderOrigin, meta: Mapping[str, Any], parameters: int) -> str:
    rows = {
        'method': 'NExT-Vid, masked next-frame generation (arXiv 2512.21004)',
        'weights': WEIGHTS[str(origin.weights)],
        'parameters': f'{parameters:,}',
        'optimiser steps': UNKNOWN if origin.step is None else f'{origin.step:,}',
        'seed': meta.get('seed', UNKNOWN),
        'experiment': meta.get('experiment_name', UNKNOWN),
        'saved': meta.get('time', UNKNOWN),
        'SHA-256 of the weights': f'`{origin.sha256}`',
        'pixels': 'RGB in [-1, 1]: mean and standard deviation 0.5',
        'licence of the code': 'Apache-2.0; the data may restrict what the weights are used for',
    }
    return table(('', ''), rows.items())


def _stages(stages: Sequence[Mapping[str, Any]] | None, step: int | None) -> str:
    if not stages:
        return f'The stage table is {UNKNOWN}.'
    keys = ('name', 'steps', 'lr', 'flow_lr', 'tau_samples', 'num_frames', 'batch_size')
    rows, start = [], 0
    for stage in stages:
        done = stage['steps'] if step is None else min(max(step - start, 0), stage['steps'])
        rows.append([*(_text(stage.get(key)) for key in keys), f'{done:,}'])
        start += stage['steps']
    return table((*keys, 'steps done'), rows)


def _data(meta: Mapping[str, Any]) -> str:
    loader = stored_config(dict(meta=meta), 'train_dataloader') or {}
    sources = loader.get('dataset', {}).get('sources')
    if not sources:
        return f'The data mixture is {UNKNOWN}.'
    lengths = (meta.get('data') or {}).get('lengths') or [UNKNOWN] * len(sources)
    rows = [
        [source.get('name'), source.get('weight'), length, source['dataset'].get('type')]
        for source, length in zip(sources, lengths, strict=True)
    ]
    return table(('source', 'sampling weight', 'items', 'dataset'), rows)


def version_table(meta: Mapping[str, Any]) -> str:
    """Versions that trained (``meta`` of the checkpoint says) and exported, in Markdown."""
    rows = {
        'nextvid_mm (export)': __version__,
        'mmengine (training)': _with_commit(meta.get('mmengine_version', UNKNOWN)),
        **{f'{library} (export)': version(library) for library in LIBRARIES},
    }
    return table(('package', 'version'), rows.items())


def _with_commit(recorded: str) -> str:
    """MMEngine appends the commit of the folder a run was started in, without a gap."""
    parts = re.fullmatch(r'(.+?)([0-9a-f]{40})', recorded)
    return recorded if parts is None else f'{parts[1]}, started in a checkout of {parts[2]}'


def table(head: Sequence[str], rows: Any) -> str:
    """A table of Markdown."""
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(str(cell) for cell in row) + ' |' for row in rows]
    return '\n'.join(lines)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        first, last = value
        return f'{first:g}' if first == last else f'{first:g} → {last:g}'
    return '–' if value is None else f'{value:,}' if isinstance(value, int) else str(value)
