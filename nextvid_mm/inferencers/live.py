"""What a stream shows, while it runs: speed, latency and a label.

Shape legend: n labelled videos, T tubelets, N tokens per frame, C channels.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table
from torch import Tensor

from nextvid_mm.data_checks import label_names
from nextvid_mm.datasets.listed_clips import read_entries
from nextvid_mm.evaluation.representation import knn_votes
from nextvid_mm.inferencers.clip_files import read_seed
from nextvid_mm.inferencers.media import fit
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.models.backbones.pixels import from_bytes
from nextvid_mm.progress import track

RECENT = 30  # tubelets over which speed and latency are measured
BATCH = 32


@dataclass(frozen=True)
class LabelBank:
    """Labelled videos as a k-NN classifier.

    Attributes:
        features: ``(n, C)``.
        labels: ``(n,)``.
        names: of the labels, by number.
        tubelets: newest frames a feature is the mean of.
    """

    features: Tensor
    labels: Tensor
    names: list[str]
    tubelets: int

    def vote(self, feature: Tensor) -> tuple[str, float]:
        """The winning name and its share of the votes, for one feature ``(C,)``."""
        votes = knn_votes(self.features, self.labels, feature[None].float())[0]
        best = int(votes.argmax())
        return self.names[best], float(votes[best] / votes.sum())


def build_bank(
    stream: StreamingEncoder,
    list_file: Path,
    root: Path,
    fps: float,
    num_frames: int,
    progress: bool = True,
) -> LabelBank:
    """Encode labelled videos as a stream sees them.

    A feature is the mean over the newest half of a video's first ``num_frames`` frames, which have
    the other half as their past.

    Args:
        stream: the encoder; its streams are reset.
        list_file: a list with labels, of videos or parts of them; names come from
            ``label_map.txt`` beside it.
        root: folder the paths are relative to.
        fps: frames taken per second of video.
        num_frames: video frames per video; shorter ones are left out.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: if the list or a video is missing.
        ValueError: if no video has a label and enough frames.
    """
    encoder = stream.encoder
    listed = (clip.below(root) for clip in read_entries(str(list_file)))
    pairs = [(clip, clip.label) for clip in listed if clip.label >= 0]
    tubelets = max(1, num_frames // encoder.tubelet_size // 2)
    features, labels = [], []
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    for batch in track(batches, 'encoding labelled videos', 'batches', quiet=not progress):
        seeds = [read_seed(clip, num_frames, encoder.img_size, fps) for clip, _ in batch]
        whole = [n for n, seed in enumerate(seeds) if seed.frames.shape[1] == num_frames]
        if not whole:
            continue
        stream.reset()
        tokens = stream.push(from_bytes(torch.stack([seeds[n].frames for n in whole])))
        features.append(tokens[:, -tubelets:].mean(dim=(1, 2)).float())
        labels += [batch[n][1] for n in whole]
    stream.reset()
    if not labels:
        raise ValueError(f'{list_file} names no labelled video of {num_frames} frames at {fps} fps')
    device = features[0].device
    names = label_names(list_file, max(labels) + 1)
    return LabelBank(torch.cat(features), torch.tensor(labels, device=device), names, tubelets)


class EncoderView:
    """A stream of features, with the vote of a bank of labelled videos as its label.

    Args:
        stream: the encoder.
        bank: gives labels; None for none.
    """

    def __init__(self, stream: StreamingEncoder, bank: LabelBank | None = None):
        self.stream, self.bank, self.tubelet = stream, bank, stream.encoder.tubelet_size
        self.recent: deque[Tensor] = deque(maxlen=bank.tubelets if bank else 1)
        self.window = stream.cache.window
        self.label: tuple[str, float] | None = None
        self.reset()

    def reset(self) -> None:
        """Start afresh."""
        self.stream.reset()
        self.recent.clear()
        self.label = None

    def push(self, picture: NDArray[np.uint8]) -> bool:
        """Take a picture; whether it has completed a tubelet."""
        frame = torch.tensor(fit(picture, self.stream.encoder.img_size)).permute(2, 0, 1)
        tokens = self.stream.push(from_bytes(frame[None, :, None]))
        if not tokens.shape[1]:
            return False
        self.recent.append(tokens.mean(dim=(1, 2))[0])
        if self.bank is not None:
            self.label = self.bank.vote(torch.stack(list(self.recent)).mean(0))
        return True


@dataclass
class LiveStatus:
    """The state of a stream.

    Attributes:
        tubelet: video frames per tubelet.
        frames: video frames so far.
        latencies: milliseconds from a tubelet's last frame to its features and label, of recent
            tubelets.
        marks: times at which recent tubelets were done, in seconds.
        label: newest label and its share of the votes, None without a bank.
    """

    tubelet: int
    frames: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    marks: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    label: tuple[str, float] | None = None

    def tubelet_done(self, start: float) -> None:
        """Note a tubelet whose last frame came at ``start`` of ``time.perf_counter``."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())
        self.latencies.append((self.marks[-1] - start) * 1000)

    @property
    def fps(self) -> float:
        """Video frames per second, recently; 0 before the second tubelet."""
        if len(self.marks) < 2:
            return 0.0
        return self.tubelet * (len(self.marks) - 1) / (self.marks[-1] - self.marks[0])

    def lines(self) -> list[str]:
        """What is written on the picture: label with its probability, latency."""
        label = f'{self.label[0]}  {self.label[1]:.0%}' if self.label else '...'
        return [label, f'{median(self.latencies):.0f} ms'] if self.latencies else [label]

    def render(self, window: int) -> Table:
        """As a table of one row."""
        table = Table('video frames', 'fps', 'latency (ms)', 'frames in memory', 'label')
        latency = f'{median(self.latencies):.1f}' if self.latencies else '-'
        name = f'{self.label[0]} ({self.label[1]:.0%})' if self.label else '-'
        kept = f'{min(self.frames // self.tubelet, window)} of {window} tubelets'
        table.add_row(str(self.frames), f'{self.fps:.1f}', latency, kept, name)
        return table


def follow(
    view: Any,
    pictures: Iterable[NDArray[np.uint8] | None],
    console: Console | None = None,
    limit: int | None = None,
) -> Iterator[tuple[NDArray[np.uint8], LiveStatus]]:
    """Push pictures one by one, show speed, latency and label, and give both on.

    Time and memory per picture do not grow with their number.

    Args:
        view: an ``EncoderView`` or a ``LiveClassifier``, reset at the start.
        pictures: RGB ``(height, width, 3)``, uint8, any size; None where a stream broke off, after
            which the view starts afresh.
        console: where to show; None for the terminal.
        limit: video frames after which to stop.
    """
    status = LiveStatus(view.tubelet)
    view.reset()
    with Live(status.render(view.window), console=console, refresh_per_second=8) as live:
        for picture in pictures:
            if picture is None:
                view.reset()
                status.label = None
                continue
            start = time.perf_counter()
            done = view.push(picture)
            status.frames += 1
            if done:
                status.label = view.label
                status.tubelet_done(start)
                live.update(status.render(view.window))
            yield picture, status
            if limit is not None and status.frames >= limit:
                return
