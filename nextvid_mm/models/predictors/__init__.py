"""Predictors."""

from .base import Predictor
from .joint import JointPredictor
from .qformer import QFormerPredictor

__all__ = ['JointPredictor', 'Predictor', 'QFormerPredictor']
