"""Which classifier or encoder somebody means: a folder, a config, a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextvid_mm.config_files import find_config
from nextvid_mm.inferencers.classifier import FILES, Classifier, read_folder
from nextvid_mm.models.checkpoints import read_config
from nextvid_mm.registry import MODELS, require_registered
from nextvid_mm.run_folder import newest_checkpoint

MODEL_HELP = (
    'folder of save_pretrained or --save, work directory of a probe or of fine-tuning, or CONFIG '
    'CKPT as for tools/test.py'
)


def open_classifier(
    words: Sequence[str],
    classes: str | Path | None = None,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Classifier, list[str]]:
    """The classifier that the first words of a command line name, and the words after it.

    Args:
        words: folder, or config and checkpoint; then anything else.
        classes: file with a class name a line, in the order of the labels; None takes those that
            the model has.
        device: where to compute.
        options: changes of the config by dotted key, with config and checkpoint only.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there is no classifier, or it does not fit together.
    """
    first, rest = Path(words[0]), list(words[1:])
    names = None if classes is None else read_names(classes)
    if first.suffix == '.py':
        if not rest:
            raise ValueError(f'give the checkpoint behind the config: {first} CKPT')
        from mmengine.config import Config

        config = Config.fromfile(str(find_config(first)))
        config.merge_from_dict(dict(options or {}))
        return Classifier.from_files(config, rest.pop(0), names, device), rest
    if options:
        raise ValueError('--cfg-options change a config: give CONFIG CKPT instead of a folder')
    if not first.is_dir():
        raise FileNotFoundError(f'{first}: no such folder or config (.py); give a {MODEL_HELP}')
    if any((first / name).exists() for name in FILES):
        found = read_folder(first, device)
        return (found if names is None else renamed(found, names)), rest
    config, checkpoint = _of_work_dir(first)
    return Classifier.from_files(config, checkpoint, names, device), rest


def brought_backbone(where: str | Path) -> dict[str, Any] | None:
    """Config of an encoder that brings its weights; None for a checkpoint and a folder of ours.

    Args:
        where: a config (``.py``) whose ``model.backbone`` is the encoder, a folder of
            transformers' ``save_pretrained``, or anything that ``open_encoder`` reads.

    Raises:
        ValueError: if a config names no encoder.
    """
    path = Path(where)
    if path.suffix == '.py':
        from nextvid_mm.config_files import checked_config

        backbone = (checked_config(str(path)).get('model') or {}).get('backbone')
        if not isinstance(backbone, dict):
            raise ValueError(f'{where} has no model.backbone: which encoder is meant?')
        return backbone
    described = path / 'config.json'
    if described.is_file() and 'model_type' in json.loads(described.read_text(encoding='utf-8')):
        return dict(type='TransformersEncoder', path=str(path))
    return None


def encoder_of(where: str | Path) -> Any:
    """What a ``FeatureInferencer`` takes: a checkpoint's path, or the encoder that is meant."""
    backbone = brought_backbone(where)
    if backbone is None:
        return where
    encoder = MODELS.build(backbone)
    encoder.init_weights()
    return encoder


def read_names(path: str | Path) -> list[str]:
    """A class name a line; blank lines do not count."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'--classes {path}: there is no such file')
    lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    return [line.strip() for line in lines if line.strip()]


def renamed(classifier: Classifier, names: Sequence[str]) -> Classifier:
    """The classifier with other names of its classes.

    Raises:
        ValueError: if there are more or fewer of them.
    """
    if len(names) != len(classifier.names):
        raise ValueError(
            f'--classes has {len(names)} names, the head of the model {len(classifier.names)} '
            'classes: one name for each is needed'
        )
    classifier.names = list(names)
    return classifier


def _of_work_dir(folder: Path) -> tuple[Any, Path]:
    """Config and newest result in a work directory; the config is read as data."""
    last, probe = folder / 'last_checkpoint', folder / 'probe.pth'
    if probe.is_file():
        checkpoint = probe
    elif last.is_file():
        checkpoint = Path(newest_checkpoint(str(folder)))
    else:
        raise FileNotFoundError(
            f'{folder} holds neither a model folder ({", ".join(FILES)}) nor a result (probe.pth, '
            'last_checkpoint)'
        )
    configs = sorted(folder.glob('*.py'))
    if len(configs) != 1:
        found = ', '.join(path.name for path in configs) or 'none'
        raise ValueError(
            f'{folder} holds {len(configs)} configs ({found}): give CONFIG {checkpoint} instead'
        )
    config = read_config(configs[0])
    require_registered(dict(model=config.get('model')), str(configs[0]))
    config.model.pop('_scope_', None)
    return config, checkpoint
