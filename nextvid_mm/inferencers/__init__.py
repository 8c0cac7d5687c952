"""From files to features: the Python API behind ``tools/extract_features.py``."""

from .features import FeatureInferencer, MediaFeatures
from .media import find_media
from .store import FeatureStore, write_features

__all__ = ['FeatureInferencer', 'FeatureStore', 'MediaFeatures', 'find_media', 'write_features']
