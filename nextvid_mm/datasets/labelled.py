"""A labelled dataset for training and evaluating a probe."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nextvid_mm.datasets.list_index import ClipList
from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.request import ClipRequest, derive_seed
from nextvid_mm.registry import DATASETS

_SAMPLER = 'SampleClipByTime'


@DATASETS.register_module()
class LabelledDataset(MixtureDataset):
    """Any labelled dataset of MMAction2 or MMPretrain, read reproducibly.

    What is random about a sample follows from its request alone (of a plain index: from the
    index), as in pretraining. A file that cannot be read is replaced by another in training; in
    ``test_mode`` the sample is kept, marked with the metainfo ``failure``, so that metrics can say
    over how many samples they are.

    Every data sample gets the metainfo ``sample_idx`` and ``path``, whatever its pipeline packs.

    Args:
        dataset: Config of the dataset, such as ``mmaction.VideoDataset``, with its pipeline.
        pipeline: Of the dataset, if not among its own keys. Here MMAction2's inferencers find it.
        test_mode: Report unreadable samples instead of replacing them.
        fps: True frames per second of the clips, for a pipeline with ``SampleClipByTime``; takes
            the place of the pipeline's own ``frame_interval`` or ``fps``. None: as the pipeline
            says.
        max_refetch: Most samples tried in place of one that cannot be read.
        timeout: Seconds to read one sample; see ``MixtureDataset``.

    Raises:
        ValueError: If a line of the list is no path with a label, or ``fps`` finds no sampler.
        FileNotFoundError: If data is missing.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        pipeline: Sequence[Any] | None = None,
        test_mode: bool = False,
        fps: float | None = None,
        max_refetch: int = 100,
        timeout: float = 60.0,
    ) -> None:
        config = dict(dataset)
        if pipeline is not None:
            if 'pipeline' in config:
                raise ValueError('LabelledDataset: give pipeline once, here or inside of dataset')
            config['pipeline'] = pipeline
        if fps is not None:
            config['pipeline'] = with_fps(config['pipeline'], fps)
        name = str(config.get('ann_file') or config.get('data_root') or config['type'])
        super().__init__([dict(name=name, weight=1.0, dataset=config)], None, max_refetch, timeout)
        self.test_mode = test_mode

    @property
    def inner(self) -> Any:
        """The dataset itself."""
        return self.sources[0].dataset

    @property
    def metainfo(self) -> dict[str, Any]:
        """The dataset's own, with its classes if it knows them."""
        return self.inner.metainfo

    @cached_property
    def has_labels(self) -> bool:
        """Whether any sample has a label; a list without labels, or with -1, has none."""
        return has_labels(self.inner)

    @property
    def labels(self) -> np.ndarray:
        """True classes of all samples, without decoding any."""
        entries = getattr(self.inner, 'data_list', None)
        if isinstance(entries, ClipList):
            return entries.labels
        return np.array([self.label(index) for index in range(len(self))])

    def label(self, index: int) -> int:
        """True class of a sample.

        Raises:
            ValueError: If the sample has none, or several.
        """
        info = self.inner.get_data_info(index)
        label = info.get('label', info.get('gt_label'))
        if not isinstance(label, int):
            raise ValueError(f'{self._where(index, info)}: a probe needs one label, found {label}')
        return label

    def check_labels(self, num_classes: int) -> None:
        """Raise unless all labels are classes.

        Args:
            num_classes: Classes of the probe, ``model.cls_head.num_classes``.

        Raises:
            ValueError: With list file, line number, and how many labels are wrong.
        """
        labels = self.labels
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if len(wrong):
            first = int(wrong[0])
            where = self._where(first, self.inner.get_data_info(first))
            raise ValueError(
                f'{where}: label {labels[first]} is none of the classes 0 to {num_classes - 1} '
                f'(model.cls_head.num_classes={num_classes}); {len(wrong)} of {len(labels)} labels '
                'are outside'
            )

    def _where(self, index: int, info: Mapping[str, Any]) -> str:
        if not self.inner.ann_file:
            return f'sample {index} of {self.names[0]}'
        return f'{self.inner.ann_file}, line {info.get("line", index + 1)}'

    def __getitem__(self, request: ClipRequest | int) -> dict[str, Any]:
        """Load one sample.

        Args:
            request: A request, or the number of a sample.
        """
        if not isinstance(request, ClipRequest):
            index = int(request)
            request = ClipRequest(index, 0, index, 0, derive_seed(index))
        sample = super().__getitem__(request)
        data = sample['data_samples']
        data.set_metainfo(dict(sample_idx=request.index))
        replaced = data.metainfo['replaced']
        if self.test_mode and replaced:
            # The stand-in has the right shape; nothing else of it is used.
            path, reason = replaced[0]
            if self.has_labels:
                data.set_gt_label(self.label(request.index))
            data.set_metainfo(dict(path=path, failure=reason, replaced=[]))
            sample['inputs'] = torch.zeros_like(sample['inputs'])
        return sample


def has_labels(dataset: Any) -> bool:
    """Whether any sample of a data set of MMEngine's kind has a label that is not negative."""
    if isinstance(entries := getattr(dataset, 'data_list', None), ClipList):
        return bool((entries.labels >= 0).any())
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    labels = (info.get('label', info.get('gt_label')) for info in infos)
    return any(label is not None and np.any(np.asarray(label) >= 0) for label in labels)


def with_fps(pipeline: Sequence[Any], fps: float) -> list[Any]:
    """A pipeline's config with its clips sampled at ``fps`` true frames per second.

    Raises:
        ValueError: If no transform is a ``SampleClipByTime``.
    """
    changed = [
        dict(step) | dict(fps=fps, frame_interval=None) if _is_sampler(step) else step
        for step in pipeline
    ]
    if not any(map(_is_sampler, pipeline)):
        kinds = [step.get('type') for step in pipeline if isinstance(step, Mapping)]
        raise ValueError(f'fps={fps} of LabelledDataset needs {_SAMPLER} in the pipeline: {kinds}')
    return changed


def _is_sampler(step: Any) -> bool:
    return isinstance(step, Mapping) and str(step.get('type')).endswith(_SAMPLER)
