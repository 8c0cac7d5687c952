"""What features and generated frames are worth, as numbers."""

from .generation import GenerationMetrics, generation_metrics
from .representation import effective_rank, feature_std, knn_accuracy, knn_votes

__all__ = [
    'GenerationMetrics',
    'effective_rank',
    'feature_std',
    'generation_metrics',
    'knn_accuracy',
    'knn_votes',
]
