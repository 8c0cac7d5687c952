"""A table's cells: a file for each, written when it is done; only like is put beside like."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextvid_mm.files import write_text

PROTOCOLS = ('knn', 'linear', 'attentive', 'finetuned')


@dataclass(frozen=True)
class Cell:
    """One number of the table.

    Attributes:
        encoder: name of the row.
        data: name of the data set.
        protocol: one of ``PROTOCOLS``.
        labels: share of the labels that is used, %.
        seed: of the draw of labels, of the order of samples and of all new weights.
    """

    encoder: str
    data: str
    protocol: str
    labels: float
    seed: int

    @property
    def column(self) -> tuple[str, str, float]:
        """What the cells of a column have in common."""
        return self.data, self.protocol, self.labels

    def __str__(self) -> str:
        return (
            f'{self.encoder}, {self.data}, {self.protocol}, {self.labels:g} % of labels, '
            f'seed {self.seed}'
        )


class CellFolder:
    """The cells of a work directory.

    Args:
        root: one folder for each encoder and data set goes here.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def path(self, cell: Cell) -> Path:
        """The cell's file."""
        name = f'{cell.protocol}_{cell.labels:g}_{cell.seed}.json'
        return self.root / cell.encoder / cell.data / name

    def read(self, cell: Cell, encoder: str, budget: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a cell that is done; None if it is not.

        Args:
            cell: which.
            encoder: identity of the encoder, such as a hash of its weights.
            budget: everything that decides what the cell was given.

        Raises:
            ValueError: if it is of another encoder or another budget.
        """
        path = self.path(cell)
        record = read_record(path)
        if record is None:
            return None
        if record['identity'] != encoder:
            raise ValueError(
                f'{path} is of another encoder that was called {cell.encoder!r}, too: name this '
                'one otherwise (NAME=FILE), or use another --work-dir'
            )
        refuse_difference(str(path), record['budget'], budget)
        return record

    def write(self, cell: Cell, encoder: str, budget: Mapping[str, Any], **found: Any) -> None:
        """Write a finished cell; the arguments are those of ``read``, and what was found."""
        record = asdict(cell) | dict(identity=encoder, budget=dict(budget), **found)
        write_text(self.path(cell), json.dumps(record, indent=1) + '\n')

    def all(self) -> list[dict[str, Any]]:
        """Records of all cells that are done.

        Raises:
            ValueError: if cells of one column were given different budgets, or a file is damaged.
        """
        records: list[dict[str, Any]] = []
        first: dict[tuple[str, str, float], tuple[Path, dict[str, Any]]] = {}
        for path in sorted(self.root.glob('*/*/*.json')):
            record = read_record(path)
            if record is None:
                raise ValueError(f'{path} is damaged: delete it; its cell is computed again')
            column = record['data'], record['protocol'], record['labels']
            where, budget = first.setdefault(column, (path, record['budget']))
            refuse_difference(f'{path} (beside {where})', record['budget'], budget)
            records.append(record)
        return records


def read_record(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None if there is none, or only a piece of one."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return None


def refuse_difference(where: str, found: Mapping[str, Any], budget: Mapping[str, Any]) -> None:
    """Raise unless two budgets are the same.

    Raises:
        ValueError: with the keys that differ, and both values of the first.
    """
    budget = json.loads(json.dumps(budget))
    different = [key for key in {**found, **budget} if found.get(key) != budget.get(key)]
    if different:
        key = different[0]
        raise ValueError(
            f'{where} is a result of another budget: {", ".join(different)} differ ({key}: '
            f'{found.get(key)!r} there, {budget.get(key)!r} here). Cells of a column must be given '
            'the same: use another --work-dir'
        )


def choose_labelled(
    labels: Sequence[int] | np.ndarray, share: float, seed: int, where: str = 'the data set'
) -> list[int]:
    """Numbers of the samples whose labels are used: ``share`` % of every class, rounded.

    The samples of a smaller share are among those of a larger one with the same seed.

    Args:
        labels: classes of all samples.
        share: percent, in (0, 100].
        seed: of the draw.
        where: for errors.

    Raises:
        ValueError: if there is one class only, or a class gets no sample.
    """
    if not 0 < share <= 100:
        raise ValueError(f'--labels {share:g} is no share of labels in percent, above 0 up to 100')
    array = np.asarray(labels)
    classes, counts = np.unique(array, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f'{where} has {len(classes)} class: there is nothing to tell apart; give a list with '
            'two classes or more'
        )
    draws, chosen = np.random.default_rng(seed), []
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        order = draws.permutation(np.flatnonzero(array == label))
        taken = round(count * share / 100)
        if not taken:
            least = math.ceil(5e4 / int(counts.min())) / 1e3
            raise ValueError(
                f'--labels {share:g}: class {label} of {where} has {count} samples, of which '
                f'{share:g} % is none; the smallest share that gives every class one is above '
                f'{least:g} %'
            )
        chosen += order[:taken].tolist()
    return sorted(chosen)
