"""Features of a frozen encoder, kept on disk: many epochs of a probe cost one pass of the encoder.

No random augmentation takes place in this mode, so that its numbers are not those of the online
protocol; records say which mode they come from.

Shape legend: n samples, N tokens, C channels.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.data_checks import list_file_of, path_of
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.processes import GuardedLoader
from nextvid_mm.files import TEMPORARY_SUFFIX, replace_when_complete, write_text
from nextvid_mm.layers import resolve_dtype
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import DATASETS
from nextvid_mm.storage import Storage

MODE = 'cached features'
DEFAULT_CACHE = 'work_dirs/features'
# Leave some room for everything else that is written.
_KEEP_FREE_BYTES = 1 << 30
_NOTE, _TOKENS = 'features.json', 'tokens.bin'
# After so long, a half-written file is that of a killed pass, not of one that is still at work.
_GIVEN_UP_SECONDS = 24 * 3600


@dataclass(frozen=True)
class FeatureSet(Dataset):
    """Tokens ``(n, N, C)`` of a dataset, mapped from a file, and its labels; read in batches.

    With ``rows``, it is these samples only. Samples ``failed`` could not be decoded.
    """

    tokens: Tensor
    labels: list[int]
    metainfo: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    rows: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.labels if self.rows is None else self.rows)

    def __getitems__(self, requests: Sequence[ClipRequest]) -> dict[str, Any]:
        """A batch of a ``ProbeRecognizer``: tokens ``(B, N, C)`` in place of inputs."""
        rows = [request.index for request in requests]
        if self.rows is not None:
            rows = [self.rows[row] for row in rows]
        samples = [ActionDataSample().set_gt_label(self.labels[row]) for row in rows]
        for row, sample in zip(rows, samples, strict=True):
            failure = dict(failure=self.failed[row]) if row in self.failed else {}
            sample.set_metainfo(dict(sample_idx=row, **failure))
        return dict(tokens=self.tokens[rows], data_samples=samples)

    def loader(self, batch_size: int, sampler: Any, drop_last: bool = False) -> DataLoader:
        """Batches in the order of a sampler that gives requests."""
        return DataLoader(
            self,
            batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=dict,  # the batch as it is
            pin_memory=torch.accelerator.is_available(),
        )


class FeatureCache:
    """Tokens of one view per sample, one folder per encoder, dataset and setting.

    The name of the folder is a hash of everything that decides the features: encoder weights and
    configuration, last layers, segments, precision, normalisation, and the dataset with its
    pipeline and its list of paths and labels. Changing any of them makes a new entry; folders can
    be deleted at any time. A video that is replaced under its old name goes unnoticed.

    Args:
        root: folder of all entries.
        model: a ``ProbeRecognizer`` with its encoder in place.
        dataset: config of the dataset.

    Raises:
        OSError: if the dataset's list cannot be read.
    """

    def __init__(self, root: str | Path, model: nn.Module, dataset: Mapping[str, Any]):
        self.model = model
        device = next(model.backbone.parameters()).device
        self.dtype = resolve_dtype(model.dtype, device) or torch.float32
        identity = dict(
            encoder=model.origin.as_dict() | dict(path=None, step=None),
            layers=model.layers,
            num_segments=model.num_segments,
            single_frame=model.single_frame,
            static_frames=model.static_frames,
            dtype=str(self.dtype),
            preprocessor=_preprocessing(model.data_preprocessor),
            dataset=dataset,
            content=_hash_content(dataset),
        )
        text = json.dumps(identity, sort_keys=True, default=str)
        self.folder = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:20]

    def load(self) -> FeatureSet | None:
        """The features, mapped into memory; None if they have not been extracted completely."""
        if not (self.folder / _NOTE).is_file():
            return None
        note = json.loads((self.folder / _NOTE).read_text())
        failed = {int(row): reason for row, reason in note.get('failed', {}).items()}
        return FeatureSet(
            self._map(self.folder / _TOKENS, note['shape'], write=False),
            note['labels'],
            failed=failed,
        )

    @torch.no_grad()
    def fill(self, loader: DataLoader | GuardedLoader) -> FeatureSet:
        """Encode every sample of a loader once; an interrupted pass starts over.

        Args:
            loader: in the order of the dataset, one view per sample.

        Raises:
            OSError: if the disk has no room; names the bytes needed.
            ValueError: if samples have several views.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f'{_TOKENS}.*{TEMPORARY_SUFFIX}'):
            if time.time() - left.stat().st_mtime > _GIVEN_UP_SECONDS:
                left.unlink(missing_ok=True)
        # Of its own: two processes that fill one folder would otherwise write into one file, and
        # the note of the first to finish would declare the other's half complete.
        with replace_when_complete(self.folder / _TOKENS) as file:
            features = self._encode(loader, file)
        note = dict(
            shape=list(features.tokens.shape), labels=features.labels, failed=dict(features.failed)
        )
        write_text(self.folder / _NOTE, json.dumps(note))
        return features

    def _encode(self, loader: DataLoader | GuardedLoader, file: Path) -> FeatureSet:
        """Encode every sample into a file."""
        tokens: Tensor = torch.empty(0)
        labels: list[int] = []
        failed: dict[int, str] = {}
        with progress_bar('samples') as bar:
            task = bar.add_task('encoding every sample once', total=len(loader.dataset))
            for batch in loader:
                views = list(self.model.views_of_batch(batch))
                if len(views) != 1:
                    raise ValueError(
                        f'features are cached for one view per sample, found {len(views)}'
                    )
                if not labels:
                    tokens = self._make(file, (len(loader.dataset), *views[0].shape[1:]))
                done = len(labels)
                for row, sample in enumerate(batch['data_samples'], start=done):
                    if sample.get('failure') is not None:
                        failed[row] = str(sample.failure)
                labels += [int(sample.gt_label) for sample in batch['data_samples']]
                tokens[done : len(labels)] = views[0].to('cpu', self.dtype)
                bar.update(task, completed=len(labels))
        if not labels:
            raise ValueError('there are no samples to cache features of')
        return FeatureSet(tokens, labels, failed=failed)

    def _make(self, file: Path, shape: tuple[int, ...]) -> Tensor:
        needed = torch.Size(shape).numel() * self.dtype.itemsize
        free = shutil.disk_usage(self.folder).free - _KEEP_FREE_BYTES
        if needed > free:
            raise OSError(
                f'the features of {shape[0]} samples need {needed / 2**30:.1f} GB in '
                f'{self.folder}, where {free / 2**30:.1f} GB are free: give '
                '--cache-features a folder on a larger disk, or train online'
            )
        return self._map(file, shape, write=True)

    def _map(self, file: Path, shape: Sequence[int], write: bool) -> Tensor:
        size = torch.Size(shape).numel()
        flat = torch.from_file(str(file), shared=write, size=size, dtype=self.dtype)
        return flat.view(shape[0], *shape[-2:])


def _preprocessing(module: nn.Module) -> dict[str, Any]:
    """What a data preprocessor does to clips: its kind, mean and deviation, other settings."""
    settings = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str) and name != 'training'
    }
    numbers = {name: buffer.tolist() for name, buffer in module.named_buffers()}
    return dict(settings, **numbers, type=type(module).__name__)


def _hash_content(dataset: Mapping[str, Any]) -> str:
    """Hash of the paths and labels that a dataset's config leads to, in their order."""
    digest = hashlib.sha256()
    inner = innermost_dataset(dataset)
    if path := list_file_of(inner):  # its bytes are read faster than its entries
        with Storage(**inner.get('storage') or {}).open(path) as file:
            for block in iter(partial(file.read, 1 << 20), b''):
                digest.update(block)
        return digest.hexdigest()
    built = DATASETS.build(dataset)  # the files of a folder
    infos = getattr(built, 'inner', built)
    for index in range(len(infos)):
        info = infos.get_data_info(index)
        line = f'{path_of(info)} {info.get("label", info.get("gt_label"))}\n'
        digest.update(os.fsencode(line))
    return digest.hexdigest()


def cached_loader(config: Config, split: str) -> GuardedLoader:
    """Loader over ``split`` (``train`` or ``val``) in order and without augmentation."""
    settings = copy.deepcopy(config[f'{split}_dataloader'])
    settings.update(sampler=dict(type='DefaultSampler', shuffle=False), persistent_workers=False)
    settings.update(batch_size=config.val_dataloader.batch_size, drop_last=False)
    settings.dataset = cached_dataset(config, split)
    return GuardedLoader(Runner.build_dataloader(settings, seed=0))


def cached_dataset(config: Config, split: str) -> dict[str, Any]:
    """Config of a split's dataset with nothing random in its pipeline.

    That is ``val``, the validation set as it is, or ``train``, the training set with the
    validation pipeline, cut down to the central view.
    """
    dataset = copy.deepcopy(config[f'{split}_dataloader'].dataset)
    if split == 'train':
        pipeline = with_pipeline(copy.deepcopy(config.val_dataloader.dataset)).pipeline
        with_pipeline(dataset).pipeline = [central_view(step) for step in pipeline]
    return dataset


def innermost_dataset(dataset: Any) -> Any:
    """The config with the list, inside of any wrappers."""
    return innermost_dataset(dataset.dataset) if 'dataset' in dataset else dataset


def with_pipeline(dataset: Any) -> Any:
    """The config with the pipeline: the outermost that has one."""
    return dataset if 'pipeline' in dataset else with_pipeline(dataset.dataset)


def central_view(step: dict[str, Any]) -> dict[str, Any]:
    """A transform's config, with a crop into three views as the middle one."""
    scope, _, kind = str(step['type']).rpartition('.')
    return dict(step, type=f'{scope}.CenterCrop') if kind == 'ThreeCrop' else step
