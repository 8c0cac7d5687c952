"""Files in, arrays or pictures out: features, generation, streams; behind several tools."""

from .classifier import Classifier
from .cost import RolloutCost, StreamingCost, measure_rollout, measure_streaming
from .features import FeatureInferencer, FeatureStore, MediaFeatures, write_features
from .media import find_media
from .predictions import Prediction, classify
from .rollout import roll_out
from .streaming import StreamingEncoder

__all__ = [
    'Classifier',
    'FeatureInferencer',
    'FeatureStore',
    'MediaFeatures',
    'Prediction',
    'RolloutCost',
    'StreamingCost',
    'StreamingEncoder',
    'classify',
    'find_media',
    'measure_rollout',
    'measure_streaming',
    'roll_out',
    'write_features',
]
