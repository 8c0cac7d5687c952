"""Predictors."""

from .joint import JointPredictor
from .qformer import QFormerPredictor

__all__ = ['JointPredictor', 'QFormerPredictor']
