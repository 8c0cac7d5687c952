"""Encoders."""

from .causal_vit import CausalViT

__all__ = ['CausalViT']
