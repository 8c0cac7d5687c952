"""Algorithms: what is wired to what, and the losses that follow."""

from .masks import BatchMask, collate_masks
from .nextvid import NextVid
from .rollout import roll_out

__all__ = ['BatchMask', 'NextVid', 'collate_masks', 'roll_out']
