"""Looks for data before a run starts, and says what is missing where."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nextvid_mm.files import INSIDE, is_remote, shown, time_fragment

HELP_PAGE = 'docs/data.md'
_WEIGHTS = ('load_from', 'encoder', 'checkpoint')  # keys whose values are files


def require_paths(owner: str, **paths: str) -> None:
    """Make sure that files or folders exist.

    Args:
        owner: Who needs them, for the message.
        paths: Path by config key; empty and remote ones (``s3://...``) are not looked for.

    Raises:
        FileNotFoundError: For the first path that is missing. Names the outermost missing folder,
            the key and the page that says how to get the data.
        PermissionError: If it lies in a folder that may not be entered; names the folder.
    """
    for key, path in paths.items():
        if not path or is_remote(path) or os.path.exists(path):
            continue
        if closed := _closed_folder(path):
            raise PermissionError(f'{owner}: {key}={path!r}: no permission to enter {closed}')
        missing = os.path.abspath(path)
        while not os.path.exists(os.path.dirname(missing)):
            missing = os.path.dirname(missing)
        kind = 'file' if missing == os.path.abspath(path) and key == 'ann_file' else 'folder'
        raise FileNotFoundError(
            f'{owner}: {key}={path!r} does not exist; the missing {kind} is {missing}. '
            f'{HELP_PAGE} says how to get the data and where to put it.'
        )


def require_data_of(owner: str, config: Mapping[str, Any]) -> None:
    """Make sure that the paths in the config of an MMEngine dataset exist.

    MMAction2 and MMPretrain would fail later, with a bare path or, where a folder of videos is
    missing, not until the first sample.

    Args:
        owner: Name of the source, for the message.
        config: The dataset's config; ``data_root``, ``ann_file`` and ``data_prefix`` are looked
            at.
    """
    root = config.get('data_root') or ''
    prefix = config.get('data_prefix') or {}
    folders = dict(data_prefix=prefix) if isinstance(prefix, str) else dict(prefix)
    require_paths(owner, data_root=root)
    require_paths(owner, ann_file=list_file_of(config))
    for key, folder in folders.items():
        require_paths(owner, **{key: _below(root, folder or '')})


def list_file_of(config: Mapping[str, Any]) -> str:
    """List file in the config of an MMEngine dataset, below its ``data_root``; '' if it has none.

    Args:
        config: The dataset's config, without wrappers.
    """
    return _below(config.get('data_root') or '', config.get('ann_file') or '')


def label_names(list_file: str | Path, count: int) -> list[str]:
    """Names of ``count`` labels, from ``label_map.txt`` beside a list; numbers where it has none.

    Args:
        list_file: The list; '' for none.
        count: How many labels there are at least.
    """
    path = Path(list_file).with_name('label_map.txt') if str(list_file) else None
    lines = path.read_text(encoding='utf-8-sig').split('\n') if path and path.is_file() else []
    names = [line.strip() for line in lines if line.strip()]
    return names if len(names) >= count else [str(label) for label in range(count)]


def require_loaders_data(config: Mapping[str, Any]) -> None:
    """Make sure that the data of every loader in a config exists, before anything is built.

    Args:
        config: A complete config; ``train_dataloader``, ``val_dataloader`` and
            ``test_dataloader`` are looked at. Sources of a mixture without weight are skipped.

    Raises:
        FileNotFoundError: As of :func:`require_paths`.
    """
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (config.get(key) or {}).get('dataset') or {}
        while isinstance(dataset.get('dataset'), Mapping):  # a wrapper such as LabelledDataset
            dataset = dataset['dataset']
        sources = dataset.get('sources')
        if sources is None:
            require_data_of(key, dataset)
        for source in sources or ():
            if source.get('weight') and isinstance(source.get('dataset'), Mapping):
                owner = f'{key}, source {source.get("name", "unnamed")!r}'
                require_data_of(owner, source['dataset'])


def named_weights(config: Any) -> Iterator[str]:
    """Files of weights on this disk that a config names.

    Args:
        config: A complete config, or a part of one. What does not exist is left to whoever needs
            it, and knows why.
    """
    pairs = config.items() if isinstance(config, Mapping) else enumerate(config)
    for key, value in pairs:
        if isinstance(value, Mapping | list | tuple):
            yield from named_weights(value)
        elif key in _WEIGHTS and isinstance(value, str) and os.path.isfile(value):
            yield value


def check_files(entries: Iterable[Mapping[str, Any]], ann_file: str) -> None:
    """Make sure that every entry's file exists.

    Args:
        entries: Data infos with ``filename`` or ``img_path``, and optionally the ``line`` of the
            list.
        ann_file: List file the entries come from, for the message; may be empty.

    Raises:
        FileNotFoundError: If files are missing. Names list, line, first missing file and how many
            there are.
        PermissionError: If that file lies in a folder that may not be entered; names the folder.
    """
    missing = []
    for number, entry in enumerate(entries, start=1):
        path = on_disk(entry)
        if path and not os.path.exists(path):
            missing.append((entry.get('line', number), path))
    if missing:
        line, path = missing[0]
        where = f'{ann_file}, line {line}' if ann_file else f'entry {line}'
        more = f' ({len(missing)} files are missing in all)' if len(missing) > 1 else ''
        if closed := _closed_folder(path):
            raise PermissionError(
                f'{where}: the file {path} cannot be read: no permission to enter {closed}{more}'
            )
        raise FileNotFoundError(
            f'{where}: the file {path} does not exist{more}. Correct the list '
            '(tools/scan_dataset.py writes a clean one), or set check_files=False to replace '
            'missing files while training.'
        )


def path_of(info: Mapping[str, Any]) -> str:
    """The file of a data info of MMAction2 or MMPretrain, as it may be shown; empty if none.

    A part of a video has a name of its own, ``PATH#t=START,END``.
    """
    return _file_of(info) + time_fragment(info.get('segment'))


def _file_of(info: Mapping[str, Any]) -> str:
    found = (info[key] for key in ('filename', 'img_path', 'frame_dir') if info.get(key))
    return shown(next(found, ''))


def on_disk(info: Mapping[str, Any]) -> str:
    """The file on a disk that a data info needs, the tar file of a clip in one; '' if none."""
    path = _file_of(info)
    path = path.rpartition(INSIDE)[0] if info.get('part') else path
    return '' if is_remote(path) else path


def one_line(error: Exception) -> str:
    """Type and first line of an error's message, the same each time a file is looked at.

    A name in it may hold bytes that are no text: they are spelt out, so that it can be written.
    """
    text = str(error).encode(errors='backslashreplace').decode()
    lines = text.strip().splitlines() or ['no message']
    # decord puts the time and its own source line first.
    text = re.sub(r'\[\d\d:\d\d:\d\d\] \S+:\d+: ', '', lines[0])
    if isinstance(error, TimeoutError):
        return f'timeout: {text[:200]}'
    return f'{type(error).__name__}: {text[:200]}'


def _closed_folder(path: str) -> str:
    """The outermost folder around a path that may not be entered; '' if there is none."""
    whole = Path(os.path.abspath(path))
    for part in (*reversed(whole.parents), whole):
        try:
            part.stat()
        except PermissionError:
            return str(part.parent)
        except OSError:
            break
    return ''


def _below(root: str, path: str) -> str:
    return path if not path or is_remote(path) else os.path.join(root, path)
