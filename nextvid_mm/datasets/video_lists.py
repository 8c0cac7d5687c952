"""Video data sets for one's own clips: a list of paths, or a folder."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmaction.datasets.base import BaseActionDataset
from mmengine.fileio import get_file_backend, join_path, list_from_file

from nextvid_mm.datasets.checks import check_files, require_paths
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


@DATASETS.register_module()
class ClipListDataset(BaseActionDataset):
    """Videos named in a text file, with or without labels.

    One video per line, as in MMAction2's lists, optionally followed by a whole number, its label.
    Blank lines and lines that begin with ``#`` are skipped; paths may contain spaces. Unlabelled
    videos have the label -1.

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
        for number, line in enumerate(list_from_file(self.ann_file), start=1):
            if line.strip() and not line.lstrip().startswith('#'):
                path, label = split_line(line.strip())
                filename = join_path(folder, path) if folder else path
                entries.append(dict(filename=filename, label=label, line=number))
        if not entries:
            raise ValueError(f'the list file {self.ann_file} names no video')
        if self.check_files:
            check_files(entries, self.ann_file)
        return entries


def split_line(line: str) -> tuple[str, int]:
    """Split a line of a list into path and label; without a label, the label is -1."""
    path, _, last = line.rpartition(' ')
    if path and last.lstrip('+-').isdecimal():
        return path.rstrip(), int(last)
    return line, -1


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
