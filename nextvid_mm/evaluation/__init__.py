"""Evaluation: probe metrics, probing on cached features, and what features look like."""

from nextvid_mm.evaluation.cached_probe import ProbeSchedule, run_probe
from nextvid_mm.evaluation.generation import GenerationMetrics, generation_metrics
from nextvid_mm.evaluation.probe_metric import ProbeMetric
from nextvid_mm.evaluation.representation import (
    effective_rank,
    feature_std,
    knn_accuracy,
    knn_votes,
)
from nextvid_mm.evaluation.streaming_cost import StreamingCost, measure_streaming

__all__ = [
    'GenerationMetrics',
    'ProbeMetric',
    'ProbeSchedule',
    'StreamingCost',
    'effective_rank',
    'feature_std',
    'generation_metrics',
    'knn_accuracy',
    'knn_votes',
    'measure_streaming',
    'run_probe',
]
