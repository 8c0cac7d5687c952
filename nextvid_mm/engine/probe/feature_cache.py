"""Frozen features on disk, so that many epochs of a probe cost one pass of the encoder.

Shape legend: n samples, V views, N tokens, C channels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nextvid_mm.engine.probe.cached_probe import FeatureSet
from nextvid_mm.layers import resolve_dtype

# Leave some room for everything else that is written.
_KEEP_FREE_BYTES = 1 << 30
_NOTE, _TOKENS = 'features.json', 'tokens.bin'


class FeatureCache:
    """Tokens of one view per sample, one folder per encoder, data set and setting.

    The name of the folder is a hash of everything that decides the features: encoder weights and
    configuration, last layers, segments, precision, and the data set with its pipeline. Changing
    any of them makes a new entry; folders can be deleted at any time.

    Args:
        root: folder of all entries.
        model: a ``ProbeRecognizer`` with its encoder in place.
        dataset: config of the data set.
    """

    def __init__(self, root: str | Path, model: nn.Module, dataset: Mapping[str, Any]):
        self.model = model
        device = next(model.backbone.parameters()).device
        self.dtype = resolve_dtype(model.dtype, device) or torch.float32
        identity = dict(
            encoder=model.origin.as_dict() | dict(path=None, step=None),
            last_layers=model.last_layers,
            num_segments=model.num_segments,
            single_frame=model.single_frame,
            static_frames=model.static_frames,
            dtype=str(self.dtype),
            dataset=dataset,
        )
        text = json.dumps(identity, sort_keys=True, default=str)
        self.folder = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:20]

    def load(self) -> FeatureSet | None:
        """The features, mapped into memory; None if they have not been extracted completely."""
        if not (self.folder / _NOTE).is_file():
            return None
        note = json.loads((self.folder / _NOTE).read_text())
        return FeatureSet(self._map(note['shape'], write=False), torch.tensor(note['labels']))

    def fill(
        self, loader: DataLoader, progress: Callable[[int, int], None] | None = None
    ) -> FeatureSet:
        """Encode every sample of a loader once; an interrupted pass starts over.

        Args:
            loader: in the order of the data set, one view per sample.
            progress: called with samples done and samples in all.

        Raises:
            OSError: if the disk has no room; names the bytes needed.
            ValueError: if samples have several views.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        count, done = len(loader.dataset), 0
        tokens: Tensor | None = None
        labels: list[int] = []
        with torch.no_grad():
            for batch in loader:
                views = list(self.model.views_of_batch(batch))
                if len(views) != 1:
                    raise ValueError(
                        f'features are cached for one view per sample, found {len(views)}'
                    )
                if tokens is None:
                    shape = (count, 1, *views[0].shape[1:])
                    self._check_room(shape)
                    tokens = self._map(shape, write=True)
                tokens[done : done + len(views[0]), 0] = views[0].to('cpu', self.dtype)
                labels += [int(sample.gt_label) for sample in batch['data_samples']]
                done += len(views[0])
                if progress is not None:
                    progress(done, count)
        if tokens is None:
            raise ValueError('there are no samples to cache features of')
        note = dict(shape=list(tokens.shape), labels=labels)
        (self.folder / _NOTE).write_text(json.dumps(note))
        return FeatureSet(tokens, torch.tensor(labels))

    def _map(self, shape: Any, write: bool) -> Tensor:
        size = torch.Size(shape).numel()
        path = str(self.folder / _TOKENS)
        return torch.from_file(path, shared=write, size=size, dtype=self.dtype).view(*shape)

    def _check_room(self, shape: Any) -> None:
        (self.folder / _TOKENS).unlink(missing_ok=True)
        needed = torch.Size(shape).numel() * self.dtype.itemsize
        free = shutil.disk_usage(self.folder).free - _KEEP_FREE_BYTES
        if needed > free:
            raise OSError(
                f'the features of {shape[0]} samples need {needed / 2**30:.1f} GB in '
                f'{self.folder}, where {free / 2**30:.1f} GB are free: give '
                '--cache-features a folder on a larger disk, or train online'
            )
