"""FSDP2: models, optimiser states and checkpoints spread over processes."""

from .runner import ShardedRunner

__all__ = ['ShardedRunner']
