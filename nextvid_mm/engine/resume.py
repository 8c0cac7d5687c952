"""Whether a checkpoint may continue a run under the present config.

A stage table may be extended, or changed from the present step on; what the run has already been
through must stand in it unchanged, and the number of clips consumed must agree: the position in the
data follows from the table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nextvid_mm.engine.stages import Stage, StageTable

# Neither changes what was trained on what.
_FREE = ('name', 'micro_batch_size')


def compare_tables(saved: Sequence[Mapping[str, Any]], present: StageTable, step: int) -> list[str]:
    """Compare the table of a checkpoint with the present one.

    Args:
        saved: The checkpoint's table, as of :meth:`StageTable.to_dicts`.
        present: The present table.
        step: Step at which the checkpoint was saved.

    Returns:
        A line for each difference that takes effect from ``step`` on.

    Raises:
        ValueError: If the tables differ in what lies before ``step``. The message lists the
            differences.
    """
    old = StageTable(saved)
    if step > present.total_steps:
        raise ValueError(
            f'the checkpoint is at step {step}, but the stage table ends at {present.total_steps}; '
            f'its own table had {old.total_steps} steps'
        )
    past: list[str] = []
    future: list[str] = []
    for index in range(max(len(old), len(present))):
        a, b = _stage(old, index), _stage(present, index)
        begun = index < len(old) and old.starts[index] < step
        finished = begun and old.starts[index + 1] <= step
        if a is None or b is None:
            lines = [f'stage {index + 1}: {_name(a)} in the checkpoint, {_name(b)} in the config']
            (past if begun else future).extend(lines)
            continue
        # A stage in progress may change course, but not how many clips it has consumed.
        fixed = {'batch_size'} | ({'steps'} if present.starts[index + 1] < step else set())
        for key, line in _differences(index, a, b):
            (past if finished or (begun and key in fixed) else future).append(line)
    if past:
        raise ValueError(
            f'the stage table contradicts what the checkpoint was trained with up to step {step}:'
            '\n  '
            + '\n  '.join(past)
            + '\nRestore these values in train_cfg.stages; steps after the present one are free.'
        )
    return future


def _stage(table: StageTable, index: int) -> Stage | None:
    return table.stages[index] if index < len(table) else None


def _name(stage: Stage | None) -> str:
    return 'absent' if stage is None else repr(stage.name)


def _differences(index: int, old: Stage, new: Stage) -> list[tuple[str, str]]:
    """Pairs (key, line) of what differs between two versions of a stage."""
    where = f'stage {index + 1} ({new.name})'
    return [
        (key, f'{where}: {key}={value!r} in the checkpoint, {getattr(new, key)!r} in the config')
        for key, value in vars(old).items()
        if key not in _FREE and value != getattr(new, key)
    ]


def compare_data(saved: Mapping[str, Any] | None, present: Mapping[str, Any] | None) -> list[str]:
    """A line for each difference between two mixtures; see :func:`describe_data`."""
    if saved is None or present is None:
        return []
    return [
        f'{key}: {saved.get(key)} in the checkpoint, {value} in the config'
        for key, value in present.items()
        if saved.get(key) != value
    ]


def describe_data(dataset: object) -> dict[str, Any] | None:
    """What decides the order of clips: names, weights and lengths of a mixture's sources."""
    keys = ('names', 'weights', 'lengths')
    if not all(hasattr(dataset, key) for key in keys):
        return None
    return {key: list(getattr(dataset, key)) for key in keys}
