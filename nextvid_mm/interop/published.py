"""Encoders that others have published: one function per format, from a file to ``Converted``."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nextvid_mm.models.checkpoints.sharded import make_whole
from nextvid_mm.registry import MODELS

from .converted import Converted
from .export import export_encoder
from .image_encoders import from_dinov2, from_dinov3, from_timm
from .videomae import from_videomae
from .vjepa import from_vjepa, from_vjepa2
from .vjepa_probes import how_to_test

OURS, SHARDED = 'nextvid', 'sharded'
FORMATS: dict[str, Callable[..., Converted]] = {
    'videomae': from_videomae,
    'videomaev2': from_videomae,
    'vjepa': from_vjepa,
    'vjepa2': from_vjepa2,
    'timm': from_timm,
    'dinov2': from_dinov2,
    'dinov3': from_dinov3,
}
TARGETS = ('nextvid', 'safetensors')


def convert(
    source: str, target: str, path: str | Path, output: str | Path, **options: Any
) -> list[str]:
    """Convert a checkpoint file.

    Args:
        source: one of ``FORMATS``, ``nextvid``, or ``sharded``: the folder of a sharded checkpoint,
            which becomes one file.
        target: ``nextvid`` for others' encoders, ``safetensors`` for ours.
        path: the checkpoint.
        output: file to write.
        options: what the format takes; those that are None are left out.

    Returns:
        Lines that say what was done.

    Raises:
        ValueError: if the formats do not go together, an option is not the format's, the file is
            not what it should be, or would be replaced.
    """
    if source == SHARDED and target == OURS:
        if foreign := sorted(key for key, value in options.items() if value is not None):
            raise ValueError(f'--from {source} takes no --{foreign[0]}')
        make_whole(path, output)
        return [f'wrote {output}']
    if (source == OURS) != (target == 'safetensors'):
        raise ValueError(
            f'--from {source} --to {target}: published encoders are converted --to nextvid, ours '
            '--from nextvid --to safetensors'
        )
    given = {key: value for key, value in options.items() if value is not None}
    reader: Callable[..., Any] = export_encoder if source == OURS else FORMATS[source]
    allowed = set(inspect.signature(reader).parameters) - {'path', 'output'}
    if foreign := sorted(set(given) - allowed):
        raise ValueError(
            f'--from {source} takes no --{foreign[0]}; it takes '
            f'{", ".join(f"--{name}" for name in sorted(allowed)) or "no options"}'
        )
    if source == OURS:
        card = export_encoder(path, output, **given)
        return [f'wrote {output}', f'wrote {card}']
    if Path(output).resolve() == Path(path).resolve():
        raise ValueError(f'{output} is what is converted, and would be lost: write another file')
    converted = reader(path, **given)
    converted.save(output)
    return [f'wrote {output}', *_describe(converted, Path(output))]


def _describe(converted: Converted, output: Path) -> list[str]:
    parts = sorted({name.split('.')[0] for name in converted.dropped})
    lines = [f'encoder: {converted.backbone}']
    if converted.note:
        lines.append(f'taken: {converted.note}; --key takes another')
    if parts:
        lines.append(f'left out, no part of the encoder: {", ".join(parts)}')
    if converted.probes is not None:
        return [*lines, *how_to_test(*converted.probes, output)]
    config = fitting_config(converted.backbone)
    if config is None:
        patch = converted.backbone.get('patch_size')
        return [
            *lines,
            f'no probe config fits patches of {patch} pixels: inherit one and change it',
        ]
    options = '--cfg-options model.encoder_weights=encoder'
    return [*lines, f'probe it: python tools/test.py {config} {shlex.quote(str(output))} {options}']


def fitting_config(backbone: dict[str, Any]) -> str | None:
    """The probe config whose size is the encoder's, or else divides into its patches; or None."""
    with torch.device('meta'):
        encoder = MODELS.build(dict(backbone))
    configs = {256: 'configs/probe/ssv2.py', 224: 'configs/probe/others/ssv2_224.py'}
    sizes = sorted(configs, key=lambda size: (size != encoder.img_size, size))
    return next((configs[size] for size in sizes if size % encoder.patch_size == 0), None)
