"""What features and generated frames are worth, as numbers."""

from .accuracy import ReadableAccMetric
from .generation import GenerationMetrics, generation_metrics
from .representation import effective_rank, feature_std, knn_accuracy, knn_votes

__all__ = [
    'GenerationMetrics',
    'ReadableAccMetric',
    'effective_rank',
    'feature_std',
    'generation_metrics',
    'knn_accuracy',
    'knn_votes',
]
