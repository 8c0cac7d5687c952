"""Frozen features of videos and images of any length, in memory and in a folder of shards.

The layout of a folder is that of ``nextvid_mm.datasets.shards``: per file an entry
``features|PATH`` and an entry ``timestamps|PATH``; the notes of the index hold the patch grid and,
by file, the reason why it could not be read. Interrupted runs go on.

Shape legend: T rows in time (one per tubelet), N patches per row, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor

from nextvid_mm.checks import check_count
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.shards import ShardReader, ShardWriter
from nextvid_mm.layers import check_dtype, resolve_dtype
from nextvid_mm.models.backbones.base import ClipEncoder
from nextvid_mm.models.checkpoints import describe_encoder, open_encoder
from nextvid_mm.progress import progress_bar, track
from nextvid_mm.registry import INFERENCERS

from .media import Media, MediaReader, UnreadableMediaError, Window, shown_media

KINDS = ('token', 'frame', 'pooled')
STORED_TYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16')}
FEATURES, TIMES = 'features|', 'timestamps|'


@dataclass(frozen=True)
class MediaFeatures:
    """Features of one file.

    Attributes:
        path: the file; of a part of a video, ``PATH#t=START,END``.
        features: ``(T, N, C)`` per token, ``(T, C)`` per frame (mean over its tokens), or ``(C,)``
            pooled (mean over all tokens).
        timestamps: ``(T,)`` seconds, float64: the mean time of the video frames of a row. Zeros
            for an image.
        grid: patches per row of tokens, (height, width); N is their product.
    """

    path: str
    features: Tensor
    timestamps: Tensor
    grid: tuple[int, int]


@INFERENCERS.register_module()
class FeatureInferencer:
    """Paths in, features out.

    A video is cut into windows; each row of features comes from the first window that covers it,
    where most of what came before is in view. With ``stride`` below ``num_frames``, rows of later
    windows see ``num_frames - stride`` frames of context.

    Args:
        checkpoint: of ``tools/train.py``, or a file of ``tools/convert_checkpoint.py``; or an
            encoder itself.
        weights: ``reference`` or ``encoder``; None takes the reference (EMA) encoder where there
            is one.
        device: None takes the fastest there is.
        fps: frames per second; None takes every frame of the file.
        num_frames: video frames per window.
        stride: frames from one window to the next; None does not overlap them.
        size: pixels per side; None takes that of the encoder's configuration.
        batch_size: windows per forward pass.
        dtype: autocast type: None, ``bfloat16``, ``float16`` or ``auto``.

    Raises:
        FileNotFoundError: if the checkpoint is missing.
        ValueError: if it holds no encoder, or a setting does not fit it.
    """

    def __init__(
        self,
        checkpoint: str | Path | ClipEncoder,
        weights: str | None = None,
        device: str | None = None,
        fps: float | None = 4.0,
        num_frames: int = 16,
        stride: int | None = None,
        size: int | None = None,
        batch_size: int = 4,
        dtype: str | None = None,
    ):
        check_dtype(dtype, 'dtype')
        if isinstance(checkpoint, ClipEncoder):
            self.encoder: Any = checkpoint
            self.origin = describe_encoder(checkpoint)
        else:
            self.encoder, self.origin = open_encoder(checkpoint, weights)
        self.device = device or get_device()
        self.encoder.eval().requires_grad_(False).to(self.device)
        self.batch_size, self.dtype = batch_size, dtype
        stride, size = stride or num_frames, size or self.encoder.img_size
        tubelet, patch = self.encoder.tubelet_size, self.encoder.patch_size
        check_windows(num_frames, stride, size, tubelet, patch)
        if fps is not None and fps <= 0:
            raise ValueError(f'fps={fps} must be above 0, or None for every frame')
        check_count(batch_size, 'batch_size')
        self.reader = MediaReader(fps, num_frames, stride, size, tubelet)
        self.grid = (size // patch, size // patch)
        self.settings = dict(
            encoder=dict(weights=self.origin.weights, sha256=self.origin.sha256),
            fps=fps,
            num_frames=num_frames,
            stride=stride,
            size=size,
            dtype=dtype,
        )

    def __call__(
        self,
        inputs: str | Path | Sequence[Media | Path],
        kind: str = 'frame',
        progress: bool = True,
    ) -> list[MediaFeatures]:
        """Features of one file or several, in their order.

        Args:
            inputs: paths, or what ``find_media`` has found.
            kind: see ``MediaFeatures``.
            progress: show a progress bar, if there are several.

        Raises:
            UnreadableMediaError: at the first file that cannot be decoded; ``write_features``
                skips and lists such files.
        """
        paths = [inputs] if isinstance(inputs, str | Path | ListedClip) else inputs
        hidden = not progress or len(paths) < 2
        files = track(paths, 'features', 'files', quiet=hidden)
        return [self.extract(path, kind) for path in files]

    @torch.no_grad()
    def extract(self, path: Media | Path, kind: str = 'frame') -> MediaFeatures:
        """Features of one file, or a part of one; see ``__call__``."""
        if kind not in KINDS:
            raise ValueError(f'kind={kind!r} is not one of {", ".join(KINDS)}')
        rows, times = [], []
        for tokens, seconds in self.rows(path):
            rows.append(tokens if kind == 'token' else tokens.mean(1))
            times.append(seconds)
        features = torch.cat(rows)
        if kind == 'pooled':
            features = features.mean(0)
        return MediaFeatures(str(path), features, torch.cat(times), self.grid)

    @torch.no_grad()
    def rows(self, path: Media | Path, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens ``(T, N, C)`` and seconds ``(T,)`` that each window adds, in order.

        Args:
            path: the file.
            done: rows of whole windows that are there already; nothing before is encoded again.
        """
        tubelet, covered = self.encoder.tubelet_size, done
        start = done * tubelet - self.reader.num_frames + self.reader.stride if done else 0
        if done and start <= 0:  # the file is shorter than a window
            return
        windows = self.reader.windows(path, start)
        while batch := list(islice(windows, self.batch_size)):
            for window, tokens in zip(batch, self._encode(batch), strict=True):
                new = covered - window.first // tubelet
                seconds = torch.from_numpy(window.times).unflatten(0, (-1, tubelet)).mean(1)[new:]
                yield tokens[new:], seconds
                covered += len(seconds)

    def _encode(self, windows: list[Window]) -> Iterator[Tensor]:
        """Tokens ``(T, N, C)`` of each window, in float32 on the CPU."""
        clips = torch.stack([window.clip for window in windows]).to(self.device)
        dtype = resolve_dtype(self.dtype, self.device)
        with torch.autocast(torch.device(self.device).type, dtype, enabled=dtype is not None):
            tokens = self.encoder.encode_layers(clips)[-1]
        yield from tokens.float().cpu()


def check_windows(num_frames: int, stride: int, size: int, tubelet: int, patch: int) -> None:
    """Raise unless windows and pixels divide into whole tokens.

    Raises:
        ValueError: names the setting, its value and what would do.
    """
    for key, value in (('num_frames', num_frames), ('stride', stride)):
        if value < 1 or value % tubelet:
            raise ValueError(f'{key}={value} must be a multiple of the tubelet of {tubelet} frames')
    if stride > num_frames:
        raise ValueError(f'stride={stride} would leave out frames: at most num_frames={num_frames}')
    if size % patch:
        raise ValueError(f'size={size} must be a multiple of the patch of {patch} pixels')


class FeatureWriter(ShardWriter):
    """Adds features to a folder; see ``ShardWriter``."""

    what, tool = 'folder of features', 'tools/extract_features.py'


class FeatureStore(ShardReader):
    """Features by path, read as they are asked for; see ``ShardReader``.

    ``settings`` says what the features depend on.
    """

    what, tool = FeatureWriter.what, FeatureWriter.tool

    @property
    def failed(self) -> dict[str, str]:
        """Reason by file that could not be read."""
        return self.notes['failed']

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        names = (name for name in self._shard_of if name.startswith(FEATURES))
        return (name.removeprefix(FEATURES) for name in names)

    def __contains__(self, path: object) -> bool:
        return f'{FEATURES}{path}' in self._shard_of

    def __getitem__(self, path: str) -> MediaFeatures:
        """Features of a file, as they were extracted, in the stored type.

        Raises:
            KeyError: if there are none; says why.
        """
        if path not in self:
            reason = self.failed.get(path, 'it was not among the inputs')
            raise KeyError(f'{self.folder} has no features of {path}: {reason}')
        height, width = self.notes['grid']
        features, times = self.read(FEATURES + path), self.read(TIMES + path)
        return MediaFeatures(path, features, times, (height, width))


def write_features(
    inferencer: FeatureInferencer,
    paths: Sequence[Media],
    folder: str | Path,
    kind: str = 'frame',
    stored_type: str = 'float32',
    shard_megabytes: float = 256,
) -> FeatureStore:
    """Extract features of files into a folder, with a progress bar.

    Files that are in the folder already are not read again; those that failed are tried again. A
    file that cannot be decoded is noted with its reason and skipped.

    Args:
        inferencer: makes the features.
        paths: the files, as of ``find_media``.
        folder: may hold a part of the same work.
        kind: see ``MediaFeatures``.
        stored_type: one of ``STORED_TYPES``.
        shard_megabytes: size of a shard; what an interruption may cost.

    Raises:
        ValueError: if the folder holds features of other settings.
    """
    if stored_type not in STORED_TYPES:
        raise ValueError(f'stored_type={stored_type!r} is not one of {list(STORED_TYPES)}')
    settings = dict(inferencer.settings, kind=kind, stored_type=stored_type)
    writer = FeatureWriter(folder, settings, shard_bytes=shard_megabytes * 2**20)
    failed = writer.notes.setdefault('failed', {})
    writer.notes['grid'] = list(inferencer.grid)
    todo = [media for media in paths if f'{FEATURES}{media}' not in writer]
    with writer, progress_bar('files') as bar:
        for media in bar.track(todo, description='features'):
            path = str(media)
            try:
                item = inferencer.extract(media, kind)
            except UnreadableMediaError as error:
                failed[path] = str(error).removeprefix(f'{shown_media(media)}: ')
                continue
            failed.pop(path, None)
            stored = item.features.to(STORED_TYPES[stored_type])
            writer.add_together({FEATURES + path: stored, TIMES + path: item.timestamps})
    return FeatureStore(folder)
