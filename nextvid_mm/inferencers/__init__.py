"""Files in, arrays or pictures out: features, generation, streams; behind several tools."""

from .cost import RolloutCost, StreamingCost, measure_rollout, measure_streaming
from .features import FeatureInferencer, FeatureStore, MediaFeatures, write_features
from .media import find_media
from .rollout import roll_out
from .streaming import StreamingEncoder

__all__ = [
    'FeatureInferencer',
    'FeatureStore',
    'MediaFeatures',
    'RolloutCost',
    'StreamingCost',
    'StreamingEncoder',
    'find_media',
    'measure_rollout',
    'measure_streaming',
    'roll_out',
    'write_features',
]
