"""Flow matching: the probability path, seeded draws, and sampling loops."""

from .path import FlowDraw, PathSample, draw_flow, linear_path, velocity_from_clean
from .sampling import integrate

__all__ = [
    'FlowDraw',
    'PathSample',
    'draw_flow',
    'integrate',
    'linear_path',
    'velocity_from_clean',
]
