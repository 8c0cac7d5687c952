"""Checkpoints of a run: complete files, the newest good one, and whether it may be used."""

import re
import zipfile
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.fileio import LocalBackend, register_backend
from torch import Tensor

from nextvid_mm.engine.stages import Stage, StageTable
from nextvid_mm.files import replace_when_complete
from nextvid_mm.layers import check_state
from nextvid_mm.models.checkpoints import find_file, read_checkpoint
from nextvid_mm.models.checkpoints.files import SHARDED
from nextvid_mm.models.checkpoints.sharded import folder_damage, is_sharded
from nextvid_mm.run_folder import newest_checkpoint

# Neither changes what was trained on what.
_FREE = ('name', 'micro_batch_size')
_ENCODER, _REFERENCE, _WRAPPED = 'backbone.', 'reference.encoder.', 'module.'


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear under their name only once all their bytes are on the disk."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj``; see :func:`~nextvid_mm.files.replace_when_complete`.

        Raises:
            OSError: If the file system refuses, for instance because it is full.
        """
        with replace_when_complete(filepath) as temporary:
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text in the same way."""
        self.put(obj.encode(encoding), filepath)


def damage(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint file, or return None if every byte is as it was written.

    The file is read once and its checksums are compared; ``torch.load`` by itself notices a
    truncated file but not a flipped bit. Files in the format before torch 1.6 carry no checksum and
    pass.
    """
    path = Path(path)
    if is_sharded(path) and path.is_dir():
        return folder_damage(path)
    if not path.is_file():
        return 'there is no such file'
    with open(path, 'rb') as file:
        start = file.read(4)
    if start[:2] != b'PK':
        return None if start[:1] == b'\x80' else 'it is not a checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        return f'it is truncated or overwritten ({error})'
    return None if broken is None else f'the checksum of its part {broken} is wrong'


def list_checkpoints(directory: str | Path, filename_tmpl: str) -> list[Path]:
    """Checkpoints named after ``filename_tmpl`` (``iter_{}.pth``), the one written last first.

    Sharded ones, which are folders, have another ending (``iter_{}.dcp``).
    """
    names = (filename_tmpl, sharded_name(filename_tmpl))
    halves = [map(re.escape, name.split('{}')) for name in names]
    pattern = re.compile('|'.join(rf'{before}\d+{after}' for before, after in halves))
    found = [path for path in Path(directory).glob('*') if pattern.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def sharded_name(name: str) -> str:
    """``iter_{}.dcp`` for ``iter_{}.pth``."""
    return name.removesuffix('.pth') + SHARDED


def newest_good(directory: str | Path, filename_tmpl: str) -> tuple[Path | None, dict[Path, str]]:
    """Find the checkpoint to resume from.

    The file named in ``last_checkpoint`` comes first, then the others from newest to oldest.

    Returns:
        The first undamaged file (None if there is none), and what is wrong with those before.
    """
    candidates = list_checkpoints(directory, filename_tmpl)
    last = Path(newest_checkpoint(str(directory)))
    if last.parent == Path(directory):  # a copied folder's note may name a file of the first one
        candidates = [last] + [path for path in candidates if path != last]
    damaged: dict[Path, str] = {}
    for path in candidates:
        fault = damage(path)
        if fault is None:
            return path, damaged
        damaged[path] = fault
    return None, damaged


def require_everywhere(path: Path) -> None:
    """Raise on all processes if one of them does not see the first one's choice.

    Raises:
        FileNotFoundError: With the processes that do not see it.
    """
    seen = all_gather_object(path.exists())
    if not all(seen):
        blind = [rank for rank, there in enumerate(seen) if not there]
        raise FileNotFoundError(
            f'{path}, chosen by process 0, does not exist for process(es) {blind}: work_dir must '
            'be shared, the same folder on a file system that all machines see'
        )


def start_file(start: str | None) -> str | None:
    """What MMEngine can load the weights of a new run from: of a folder, the file in it."""
    if start is None or '://' in str(start):
        return start
    read_checkpoint(start)  # says what a file is that is none
    return str(find_file(start))


def fit_start_weights(
    weights: MutableMapping[str, Tensor], present: Mapping[str, Any], what: str
) -> bool:
    """Make sure that a new run (``load_from``) starts from all the weights it was given.

    MMEngine only warns of what is missing or left over, and would start with half a model.

    Args:
        weights: The file's state dict, changed in place: an encoder alone is entered a second
            time, for the reference encoder, which would otherwise stay as it was drawn. Names as
            DDP's (``module.``) lose their prefix.
        present: The model's state dict.
        what: Start of the message.

    Returns:
        Whether it is an encoder alone (all names begin with ``backbone.``).

    Raises:
        ValueError: With the missing, unexpected and misshapen tensors.
    """
    for name in [name for name in weights if name.startswith(_WRAPPED)]:
        weights[name.removeprefix(_WRAPPED)] = weights.pop(name)
    alone = bool(weights) and all(name.startswith(_ENCODER) for name in weights)
    if not alone:
        check_state(weights, present, what)
        return False
    encoder = {name: value for name, value in present.items() if name.startswith(_ENCODER)}
    check_state(weights, encoder, what)
    for name in present:
        source = _ENCODER + name.removeprefix(_REFERENCE)
        if name.startswith(_REFERENCE) and source in weights:
            weights[name] = weights[source]
    return True


def compare_tables(saved: Sequence[Mapping[str, Any]], present: StageTable, step: int) -> list[str]:
    """Compare the stage table of a checkpoint with the one that is to continue it.

    A table may be extended, or changed from the present step on; what the run has been through must
    stand in it unchanged, and the number of clips consumed must agree: the position in the data
    follows from the table.

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
        # One that ends just here may have been made longer: it is in progress again.
        longer = old.starts[index + 1] == step < present.starts[index + 1] if a and b else False
        finished = begun and old.starts[index + 1] <= step and not longer
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
    """What decides the order of clips: names, weights, lengths and kinds of a mixture's sources."""
    keys = ('names', 'weights', 'lengths')
    if not all(hasattr(dataset, key) for key in keys):
        return None
    found = {key: list(getattr(dataset, key)) for key in keys}
    static = list(getattr(dataset, 'static', []))
    # Without static clips the order is that of checkpoints that say nothing of them.
    return found | dict(static=static) if any(static) else found
