"""What probes of one's own found, from the records they left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from nextvid_mm.data_checks import list_file_of
from nextvid_mm.engine.probe.features import innermost_dataset
from nextvid_mm.engine.probe.results import checkpoint_of, config_of, read_record
from nextvid_mm.layers import load_exactly
from nextvid_mm.models.checkpoints import hash_weights, read_checkpoint, stored_backbone
from nextvid_mm.registry import MODELS, SCOPE, require_registered

from .page import Section, Table

# What a probe and the videos it is shown must have in common.
_SETTINGS = ('num_classes', 'num_segments', 'single_frame', 'static_frames')
_HEADER = ('encoder', 'videos', 'features', 'scored', 'failed', 'top-1', 'top-5', 'class mean')


def probes_section(paths: Sequence[Path]) -> Section:
    """A table with one row per evaluation.

    Args:
        paths: ``probe_results.json`` files; one that is named twice is shown once.

    Raises:
        FileNotFoundError: if one does not exist.
        ValueError: if one is something else.
    """
    once = {path.resolve(): path for path in paths}.values()
    records = {path: read_record(path) for path in once}
    rows = [_row(record, path) for path, record in records.items()]
    text = (
        'Attentive probes on frozen encoders, best of the grid, accuracies in % over the videos '
        'that could be scored. Rows are comparable where videos, their sampling and the kind of '
        'features are the same; each file repeats its evaluation (tools/test.py --from-json).'
    )
    files = [[str(path), record['best']] for path, record in records.items()]
    tables = [
        Table(_HEADER, rows, 'Probes of your own'),
        Table(('record', 'best probe'), files, 'Where the rows come from'),
    ]
    return Section('Probes', [text], tables)


def find_probe(
    paths: Sequence[Path], model: nn.Module, config: Config
) -> tuple[nn.Module, float, Path] | None:
    """The best trained probe of a model's encoder or reference encoder.

    Args:
        paths: ``probe_results.json`` files.
        model: the pretraining model; hashes of its encoders are compared with the records'.
        config: a probe config: the probe must take videos and classes as this one does.

    Returns:
        The ``ProbeRecognizer``, its top-1 accuracy (%) and its file; None if there is none.

    Raises:
        ValueError: if the best record or its checkpoint holds what would have to be run.
    """
    reference = getattr(model, 'reference', None)
    encoders = [model.backbone] if reference is None else [model.backbone, reference.encoder]
    hashes = {hash_weights(encoder) for encoder in encoders}
    best: tuple[float, Path, Config, Path] | None = None
    for path in paths:
        record = read_record(path)
        if (record.get('encoder') or {}).get('sha256') not in hashes:
            continue
        own = config_of(record, path)
        if any(_setting(own, key) != _setting(config, key) for key in _SETTINGS):
            continue
        if best is None or record['top1'] > best[0]:
            best = record['top1'], path, own, checkpoint_of(record, path)
    if best is None:
        return None
    top1, path, own, file = best
    checkpoint = read_checkpoint(file)
    settings = dict(own.model, encoder=None, backbone=stored_backbone(checkpoint), _scope_=SCOPE)
    require_registered(settings, str(path))
    probe = MODELS.build(settings)
    load_exactly(probe, checkpoint['state_dict'], f'{file} is not the probe of {path}')
    return probe.eval(), top1, file


def _setting(config: Config, key: str) -> Any:
    """Of ``model`` or ``model.cls_head``; absent keys count as not set."""
    model = config.model
    return model.get(key, model.cls_head.get(key)) or None


def _row(record: Mapping[str, Any], path: Path) -> list[str]:
    dataset = innermost_dataset(config_of(record, path)[f'{record["split"]}_dataloader'].dataset)
    origin = record.get('encoder')
    if origin is None:
        encoder = 'not recorded'
    elif origin['path'] is None:
        encoder = f'untrained ({origin["sha256"][:8]})'
    else:
        encoder = f'{origin["path"]} ({origin["weights"]})'
    accuracies = (record['top1'], record.get('top5'), record['mean_class'])
    return [
        encoder,
        str(list_file_of(dataset) or dataset.get('data_root') or dataset.type),
        record.get('mode', 'online').removesuffix(' features'),
        f'{record["num_samples"]:,}',
        f'{len(record["failed"]):,}',
        *('–' if value is None else f'{value:.1f}' for value in accuracies),
    ]
