"""Video data sets for one's own clips: a list of paths, or a folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.datasets import VideoDataset
from mmaction.datasets.base import BaseActionDataset
from mmengine.fileio import get_file_backend, join_path, list_from_file

from nextvid_mm.data_checks import check_files, list_file_of, require_paths
from nextvid_mm.registry import DATASETS

VIDEO_EXTENSIONS = (
    '.mp4',
    '.webm',
    '.mkv',
    '.avi',
    '.mov',
    '.m4v',
    '.mpg',
    '.mpeg',
    '.flv',
    '.wmv',
)
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')


@DATASETS.register_module()
class ClipListDataset(BaseActionDataset):
    """Videos named in a text file, with or without labels.

    The list is read by :func:`read_lines`, as by all tools: one video per line, as in MMAction2's
    lists, optionally followed by a whole number, its label. Blank lines and lines that begin with
    ``#`` are skipped; paths may contain spaces. Unlabelled videos have the label -1.

    .. code-block:: text

        some/path/000.mp4 1
        another path/clip.mp4

    Args:
        ann_file: The list.
        pipeline: Transforms.
        data_prefix: ``dict(video=folder)`` that the list's paths are relative to.
        check_files: Look for every video at start. Worth it for short lists on a local disk;
            without it, a missing video is replaced while training, like any other that cannot be
            read.
        kwargs: Further arguments of MMAction2's ``BaseActionDataset``, such as ``data_root``.

    Raises:
        FileNotFoundError: If the list, the folder or (with ``check_files``) a video does not exist.
        ValueError: If the list names no video.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[dict | Callable],
        data_prefix: dict[str, str] | None = None,
        check_files: bool = True,
        **kwargs: Any,
    ) -> None:
        self.check_files = check_files
        prefix = dict(video='') if data_prefix is None else data_prefix
        super().__init__(ann_file, pipeline, data_prefix=prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the list file."""
        require_paths(type(self).__name__, ann_file=self.ann_file)
        folder = self.data_prefix['video']
        entries = []
        for path, label, number in read_lines(list_from_file(self.ann_file)):
            filename = join_path(folder, path) if folder else path
            entries.append(dict(filename=filename, label=label, line=number))
        if not entries:
            raise ValueError(f'the list file {self.ann_file} names no video')
        if self.check_files:
            check_files(entries, self.ann_file)
        return entries


class ListedFile(NamedTuple):
    """One file of a list."""

    path: str
    label: int
    """-1 without one."""
    line: int
    """Number of the line, from 1."""


def read_lines(lines: Iterable[str]) -> Iterator[ListedFile]:
    """Files of a list; blank lines and comments (``# ...``) are skipped.

    Args:
        lines: of the list file, all of them.
    """
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith('#'):
            yield ListedFile(*split_line(line), number)


def split_line(line: str) -> tuple[str, int]:
    """Split a line of a list into path and label; without a label, the label is -1."""
    path, _, last = line.rpartition(' ')
    if path and last.lstrip('+-').isdecimal():
        return path.rstrip(), int(last)
    return line, -1


def bad_line(config: Mapping[str, Any]) -> str | None:
    """What is wrong with the list of an MMAction2 ``VideoDataset``, and what to do about it.

    That data set splits every line at its spaces, comments and all, and says no more than that
    it got too many parts, or no number.

    Args:
        config: of a data set that could not be built; of any type.

    Returns:
        One sentence about the first line that ``VideoDataset`` does not understand; None if all
        are fine, the list cannot be read, or the data set is another.
    """
    kind = DATASETS.get(config['type']) if isinstance(config['type'], str) else config['type']
    if not (isinstance(kind, type) and issubclass(kind, VideoDataset)) or config.get('multi_class'):
        return None
    ann_file = list_file_of(config)
    try:
        lines = list_from_file(ann_file)
    except (OSError, UnicodeDecodeError):  # the error that is being explained says why
        return None
    for number, line in enumerate(lines, start=1):
        parts = line.strip().split(config.get('delimiter', ' '))
        if len(parts) > 2 or (len(parts) == 2 and not parts[1].lstrip('+-').isdecimal()):
            return (
                f'{ann_file}, line {number}: {line!r} is not "path label", which is all that '
                f'{kind.__name__} reads: neither comments nor spaces in a path. Change the line, '
                "or set type='ClipListDataset' for this data set, which reads both"
            )
    return None


@DATASETS.register_module()
class VideoFolder(BaseActionDataset):
    """Every video below a folder, in the order of their paths; labels are -1.

    Args:
        folder: The folder; relative to ``data_root`` if that is given.
        pipeline: Transforms.
        extensions: File name endings that count as video, in lower case.
        kwargs: Further arguments of MMAction2's ``BaseActionDataset``, such as ``data_root``.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no video.
    """

    def __init__(
        self,
        folder: str,
        pipeline: Sequence[dict | Callable],
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.extensions = tuple(extension.lower() for extension in extensions)
        super().__init__('', pipeline, data_prefix=dict(video=folder), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Walk through the folder, following links."""
        folder = self.data_prefix['video']
        require_paths(type(self).__name__, folder=folder)
        files = get_file_backend(folder).list_dir_or_file(
            folder, list_dir=False, suffix=None, recursive=True
        )
        found = sorted(file for file in files if file.lower().endswith(self.extensions))
        if not found:
            raise FileNotFoundError(
                f'the folder {os.path.abspath(folder)} holds no video: no file below it ends '
                f'in one of {", ".join(self.extensions)} (key `extensions` of VideoFolder)'
            )
        return [dict(filename=str(Path(folder, file)), label=-1) for file in found]
