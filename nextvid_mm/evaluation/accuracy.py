"""MMAction2's accuracy over the samples that could be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmaction.evaluation import AccMetric
from mmengine.logging import print_log

from nextvid_mm.registry import METRICS


@METRICS.register_module()
class ReadableAccMetric(AccMetric):
    """MMAction2's ``AccMetric`` that leaves out samples marked ``failure`` and says how many.

    ``LabelledDataset`` marks a validation video that cannot be decoded. Arguments are those of
    ``AccMetric``.
    """

    def process(self, data_batch: Sequence[Any], data_samples: Sequence[dict]) -> None:
        """Take a batch's predictions."""
        readable = [sample for sample in data_samples if not sample.get('failure')]
        for sample in data_samples:
            if sample.get('failure'):
                print_log(f'not scored: {sample["path"]}: {sample["failure"]}', 'current')
        super().process(data_batch, readable)

    def compute_metrics(self, results: list) -> dict:
        """Accuracies.

        Raises:
            ValueError: if no sample could be read.
        """
        if not results:
            raise ValueError(
                'no sample could be read, so there is no accuracy: the log has reasons'
            )
        return super().compute_metrics(results)
