"""The model card of an exported encoder, from what its checkpoint says about the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nextvid_mm.files import write_text
from nextvid_mm.models.checkpoints.encoder import EncoderOrigin, stored_config
from nextvid_mm.version import __version__

LIBRARIES = ('torch', 'mmengine', 'mmaction2', 'timm', 'safetensors')
UNKNOWN = 'not recorded in the checkpoint'
WEIGHTS = {'reference': 'EMA of the encoder (reference encoder)', 'encoder': 'trained encoder'}


def write_card(
    weights: Path,
    origin: EncoderOrigin,
    meta: Mapping[str, Any],
    name: str | None,
    parameters: int,
) -> Path:
    """Write ``NAME.md`` beside ``NAME.safetensors``.

    Args:
        weights: the exported file.
        origin: which encoder it is.
        meta: ``meta`` of the checkpoint.
        name: name of the timm model, if it is one.
        parameters: number of weights.

    Returns:
        The card's path.
    """
    card = weights.with_suffix('.md')
    sections = [
        f'# {weights.stem}',
        _summary(origin, meta, parameters),
        '## Use',
        _use(weights.name, name),
        '## Training stages',
        _stages(meta.get('stages'), origin.step),
        '## Data',
        _data(meta),
        '## Versions',
        _versions(meta),
        '## Encoder configuration',
        f'```python\nbackbone = {origin.backbone!r}\n```',
        '## Limits',
        'Frozen features of this file have not been evaluated by the export; '
        '`python tools/test.py` does that. Training is self-supervised on the data above: what is '
        'rare there is represented poorly.',
    ]
    write_text(card, '\n\n'.join(sections) + '\n')
    return card


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
    return _table(('', ''), rows.items())


def _use(file: str, name: str | None) -> str:
    if name is None:
        return (
            'No registered timm model has this architecture; build it from the configuration '
            f'below:\n\n```python\nimport nextvid_mm\nfrom nextvid_mm.inferencers import '
            f"FeatureInferencer\n\nfeatures = FeatureInferencer('{file}')('video.mp4')\n```"
        )
    return (
        '```python\nimport timm\n\nimport nextvid_mm.interop.timm_models  # registers the model\n\n'
        f"model = timm.create_model('{name}', checkpoint_path='{file}').eval()\n"
        'tokens = model.forward_features(clip)  # (B, 3, T, H, W) or (B, 3, H, W) -> (B, N, C)\n'
        '```'
    )


def _stages(stages: Sequence[Mapping[str, Any]] | None, step: int | None) -> str:
    if not stages:
        return f'The stage table is {UNKNOWN}.'
    keys = ('name', 'steps', 'lr', 'flow_lr', 'tau_samples', 'num_frames', 'batch_size')
    rows, start = [], 0
    for stage in stages:
        done = stage['steps'] if step is None else min(max(step - start, 0), stage['steps'])
        rows.append([*(_text(stage.get(key)) for key in keys), f'{done:,}'])
        start += stage['steps']
    return _table((*keys, 'steps done'), rows)


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
    return _table(('source', 'sampling weight', 'items', 'data set'), rows)


def _versions(meta: Mapping[str, Any]) -> str:
    rows = {
        'nextvid_mm (export)': __version__,
        'mmengine (training)': _with_commit(meta.get('mmengine_version', UNKNOWN)),
        **{f'{library} (export)': version(library) for library in LIBRARIES},
    }
    return _table(('package', 'version'), rows.items())


def _with_commit(recorded: str) -> str:
    """MMEngine appends the commit of the folder a run was started in, without a gap."""
    parts = re.fullmatch(r'(.+?)([0-9a-f]{40})', recorded)
    return recorded if parts is None else f'{parts[1]}, started in a checkout of {parts[2]}'


def _table(head: Sequence[str], rows: Any) -> str:
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(str(cell) for cell in row) + ' |' for row in rows]
    return '\n'.join(lines)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        first, last = value
        return f'{first:g}' if first == last else f'{first:g} → {last:g}'
    return '–' if value is None else f'{value:,}' if isinstance(value, int) else str(value)
