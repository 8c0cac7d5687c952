"""Video datasets for one's own clips: a list of paths, or a folder."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import fsspec
from mmaction.datasets import VideoDataset
from mmaction.datasets.base import BaseActionDataset
from mmengine.logging import print_log

from nextvid_mm.data_checks import check_files, list_file_of, on_disk, path_of, require_paths
from nextvid_mm.datasets.list_index import ClipList, open_list
from nextvid_mm.datasets.transforms.sampling import SampleClipByTime
from nextvid_mm.datasets.video.files import VIDEO_EXTENSIONS, is_image, walk
from nextvid_mm.registry import DATASETS
from nextvid_mm.storage import Storage

# Videos of a list that are looked for at start: enough to notice a wrong folder.
_LOOKED_AT = 8


@DATASETS.register_module()
class ClipListDataset(BaseActionDataset):
    """Videos named in a text file, with or without labels.

    The list is read by :func:`~nextvid_mm.datasets.video.files.parse_list`, as by all tools: one
    video per line, as in MMAction2's lists, optionally followed by a whole number, its label. Blank
    lines and lines that begin with ``#`` are skipped; paths may contain anything, see there.
    Unlabelled videos have the label -1.

    A table (``.csv``, ``.tsv``, ``.parquet``) may also say which part of a video an entry is, in
    columns ``start`` and ``end``. A long list of either kind is read once, into an index that all
    processes share: see :func:`~nextvid_mm.datasets.list_index.open_list`.

    .. code-block:: text

        some/path/000.mp4 1
        another path/clip.mp4

    Args:
        ann_file: The list, in UTF-8, or an address that fsspec can open.
        pipeline: Transforms.
        data_prefix: ``dict(video=folder)`` that the list's paths are relative to.
        check_files: Look for every video at start, not for a few. A video that is missing later is
            replaced while training, like any other that cannot be read.
        columns: How a table calls the columns ``path``, ``label``, ``start`` and ``end``.
        storage: How a list behind an address is fetched: keys of
            :class:`~nextvid_mm.storage.Storage`. Videos are fetched as ``VideoInit`` says.
        kwargs: Further arguments of MMAction2's ``BaseActionDataset``, such as ``data_root``.

    Raises:
        FileNotFoundError: If the list, the folder, a video (with ``check_files``) or all of a few
            videos do not exist.
        ValueError: If the list names no video, or a line cannot be read.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[dict | Callable],
        data_prefix: dict[str, str] | None = None,
        check_files: bool = False,
        columns: Mapping[str, str] | None = None,
        storage: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.check_files, self.columns = check_files, columns
        self.storage = Storage(**storage or {})
        # Entries are made when asked for: MMEngine has nothing to serialise.
        kwargs.setdefault('serialize_data', False)
        prefix = dict(video='') if data_prefix is None else data_prefix
        super().__init__(ann_file, pipeline, data_prefix=prefix, **kwargs)

    def load_data_list(self) -> ClipList:
        """Open the list file."""
        require_paths(type(self).__name__, ann_file=self.ann_file)
        entries = open_list(self.ann_file, self.data_prefix['video'], self.columns, self.storage)
        few = entries[:: max(1, len(entries) // _LOOKED_AT)]
        if self.check_files or not any(map(_is_there, few)):
            check_files(entries if self.check_files else few, self.ann_file)
        return entries

    def get_data_info(self, idx: int) -> dict:
        """Data info of an entry.

        Raises:
            ValueError: If it is a part of a video, and no transform takes clips from parts.
        """
        info = super().get_data_info(idx)
        if 'segment' in info and self.pipeline.transforms and not self._samples_parts:
            raise ValueError(
                f'{self.ann_file}, line {info["line"]}: {path_of(info)} is a part of a video; '
                'of transforms, SampleClipByTime alone takes clips from parts; the pipeline has '
                f'{", ".join(type(step).__name__ for step in self.pipeline.transforms)}'
            )
        return info

    @cached_property
    def _samples_parts(self) -> bool:
        return any(isinstance(step, SampleClipByTime) for step in self.pipeline.transforms)


def _is_there(info: Mapping[str, Any]) -> bool:
    path = on_disk(info)
    return not path or os.path.exists(path)


def misread_line(config: Mapping[str, Any]) -> str | None:
    """What MMAction2's ``VideoDataset`` would misread in its list, and what to do about it.

    That dataset splits every line at its spaces, comments and all. It takes a blank line for a
    video, a byte-order mark for part of a name, and says no more than that it got too many parts,
    or no number.

    Args:
        config: of a dataset; of any type.

    Returns:
        One sentence about the first such line; None if all are fine, the list cannot be found, or
        the dataset is another.
    """
    kind = DATASETS.get(config['type']) if isinstance(config['type'], str) else config['type']
    if not (isinstance(kind, type) and issubclass(kind, VideoDataset)) or config.get('multi_class'):
        return None
    ann_file = list_file_of(config)
    try:
        with fsspec.open(ann_file, 'rb') as file:
            content = file.read()
    except OSError:  # the error that follows says why
        return None
    if not (found := _misread(content, config.get('delimiter', ' '))):
        return None
    number, line, fault = found
    return (
        f'{ann_file}, line {number}: {line!r} {fault}, for {kind.__name__}, which reads nothing '
        'but "path label" lines. Correct the line, or set type=\'ClipListDataset\' for this '
        'dataset, which reads comments, spaces, blank lines and a byte-order mark'
    )


def _misread(content: bytes, delimiter: str) -> tuple[int, str, str] | None:
    """Number, text and fault of the first line that is no path with an optional label."""
    try:
        lines = content.decode('utf-8').splitlines()
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b'\n') + 1
        return number, repr(content[error.start : error.start + 8]), 'is not UTF-8'
    if not lines:
        return 1, '', 'is missing: the list is empty'
    for number, line in enumerate(lines, start=1):
        parts = line.strip().split(delimiter)
        if line.startswith('\ufeff'):
            return number, line, 'begins with a byte-order mark, which becomes part of the name'
        if not line.strip():
            return number, line, 'is blank, a video without a name'
        if len(parts) > 2 or (len(parts) == 2 and not parts[1].lstrip('+-').isdecimal()):
            return number, line, 'is not "path label"'
        if len(parts) == 1 and any(mark in line for mark in '\t,'):
            return number, line, 'has no label, because of a tab or comma'
        if len(parts) == 2 and int(parts[1]) < 0:
            return number, line, 'has a label below 0'
    return None


@DATASETS.register_module()
class VideoFolder(BaseActionDataset):
    """Every video below a folder, in the order of their paths; labels are -1.

    Links are followed, hidden files are left out; what else is left out is said in the log.

    Args:
        folder: The folder; relative to ``data_root`` if that is given.
        pipeline: Transforms.
        extensions: File name endings that count as video, in lower case.
        kwargs: Further arguments of MMAction2's ``BaseActionDataset``, such as ``data_root``.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no video.
        PermissionError: If a folder below it may not be read.
    """

    def __init__(
        self,
        folder: str,
        pipeline: Sequence[dict | Callable],
        extensions: Sequence[str] = (*VIDEO_EXTENSIONS, '.webp'),
        **kwargs: Any,
    ) -> None:
        self.extensions = tuple(extension.lower() for extension in extensions)
        super().__init__('', pipeline, data_prefix=dict(video=folder), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Walk through the folder."""
        folder = self.data_prefix['video']
        require_paths(type(self).__name__, folder=folder)
        if '://' in folder:
            system, root = fsspec.url_to_fs(folder)
            found = (name for name in system.find(root) if name.lower().endswith(self.extensions))
            files = sorted(map(system.unstrip_protocol, found))
        else:
            files = self._walk(folder)
        if not files:
            raise FileNotFoundError(
                f'the folder {os.path.abspath(folder)} holds no video: no file below it ends '
                f'in one of {", ".join(self.extensions)} (key `extensions` of VideoFolder)'
            )
        return [dict(filename=file, label=-1) for file in files]

    def _walk(self, folder: str) -> list[str]:
        found = walk(folder, self.extensions)
        if found.closed:
            raise PermissionError(
                f'VideoFolder: no permission to read {", ".join(found.closed)}, below {folder}'
            )
        for note in found.notes():
            print_log(f'{folder}: {note}', logger='current', level=logging.WARNING)
        return [file for file in found.files if not is_image(file)]
