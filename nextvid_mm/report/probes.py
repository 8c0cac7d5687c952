"""What probes of one's own found, from the records they left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextvid_mm.datasets.checks import list_file_of
from nextvid_mm.engine.probe.protocol import innermost_dataset
from nextvid_mm.engine.probe.results import config_of, read_record

from .page import Section, Table

_HEADER = ('encoder', 'videos', 'features', 'scored', 'failed', 'top-1', 'top-5', 'class mean')


def probes_section(paths: Sequence[Path]) -> Section:
    """A table with one row per evaluation.

    Args:
        paths: ``probe_results.json`` files; one that is named twice is shown once.

    Raises:
        FileNotFoundError: if one does not exist.
        ValueError: if one is something else.
    """
    records = {
        path: read_record(path) for path in {path.resolve(): path for path in paths}.values()
    }
    rows = [_row(record) for record in records.values()]
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


def _row(record: Mapping[str, Any]) -> list[str]:
    dataset = innermost_dataset(config_of(record)[f'{record["split"]}_dataloader'].dataset)
    videos = list_file_of(dataset) or dataset.get('data_root') or dataset.type
    accuracies = (record['top1'], record.get('top5'), record['mean_class'])
    return [
        _encoder(record.get('encoder')),
        str(videos),
        record.get('mode', 'online').removesuffix(' features'),
        f'{record["num_samples"]:,}',
        f'{len(record["failed"]):,}',
        *('–' if value is None else f'{value:.1f}' for value in accuracies),
    ]


def _encoder(origin: Mapping[str, Any] | None) -> str:
    """Which encoder a record is of, in a few words."""
    if origin is None:
        return 'not recorded'
    if origin['path'] is None:
        return f'untrained ({origin["sha256"][:8]})'
    return f'{origin["path"]} ({origin["weights"]})'
