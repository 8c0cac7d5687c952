"""Predictors."""

from .qformer import QFormerPredictor

__all__ = ['QFormerPredictor']
