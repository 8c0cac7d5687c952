"""Files in, arrays or pictures out: features, generation, streams; behind several tools."""

from .features import FeatureInferencer, MediaFeatures
from .media import find_media
from .rollout import roll_out
from .store import FeatureStore, write_features
from .streaming import StreamingEncoder
from .streaming_cost import StreamingCost, measure_streaming

__all__ = [
    'FeatureInferencer',
    'FeatureStore',
    'MediaFeatures',
    'StreamingCost',
    'StreamingEncoder',
    'find_media',
    'measure_streaming',
    'roll_out',
    'write_features',
]
