"""The classes: motions on a torus, so that no single frame can tell them apart.

The state of an object is four numbers: horizontal position, vertical position, angle and
log-size. Each lives on a circle: an object that leaves on the left comes back on the right, and
one that outgrows the largest size starts again at the smallest. A clip starts at a uniformly
drawn point of this torus and moves by an offset drawn independently of it. A uniform point plus
an independent offset is again uniform, so the state at *every* frame has the same distribution
in *every* class: only the change from frame to frame holds the label.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

#: Axes of the state; all in turns of their circle: x and y in frame widths (y points down), angle
#: in full turns (growing = counter-clockwise on the screen), size in ranges from the smallest to
#: the largest.
STATE_AXES = ('x', 'y', 'angle', 'size')

#: Range of speed per axis in turns per second: what a person sees at a glance within two seconds.
_SPEED = {'x': (0.15, 0.35), 'y': (0.15, 0.35), 'angle': (0.10, 0.25), 'size': (0.20, 0.45)}
_SWING_AMPLITUDE = (0.14, 0.24)  # turns of the circle
_SWING_FREQUENCY = (0.6, 1.1)  # swings per second


@dataclass(frozen=True)
class Motion:
    """One class.

    Args:
        name: Class name as written into ``label_map.txt``.
        drift: Direction (+1 or -1) of a steady motion per axis of ``STATE_AXES``.
        swing: Axes which oscillate.
    """

    name: str
    drift: Mapping[str, int] = field(default_factory=dict)
    swing: tuple[str, ...] = ()

    def offsets(self, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw how far the object moves from its start.

        Args:
            seconds: Times of the frames, shape (T,).
            rng: Source of speed, amplitude, frequency and phase.

        Returns:
            Offsets of shape (T, 4) in turns, axes as in ``STATE_AXES``.
        """
        offsets = np.zeros((len(seconds), len(STATE_AXES)))
        for axis, direction in self.drift.items():
            offsets[:, STATE_AXES.index(axis)] = direction * rng.uniform(*_SPEED[axis]) * seconds
        for axis in self.swing:
            phase = rng.uniform(*_SWING_FREQUENCY) * seconds + rng.uniform()
            swing = rng.uniform(*_SWING_AMPLITUDE) * np.sin(2 * np.pi * phase)
            offsets[:, STATE_AXES.index(axis)] = swing
        return offsets


#: Label = position in this tuple. Every steady motion stands beside its own time reversal, and a
#: swing is its own.
MOTIONS = (
    Motion('move_left', {'x': -1}),
    Motion('move_right', {'x': 1}),
    Motion('move_up', {'y': -1}),
    Motion('move_down', {'y': 1}),
    Motion('turn_left', {'angle': 1}),
    Motion('turn_right', {'angle': -1}),
    Motion('grow', {'size': 1}),
    Motion('shrink', {'size': -1}),
    Motion('roll_left', {'x': -1, 'angle': 1}),
    Motion('roll_right', {'x': 1, 'angle': -1}),
    Motion('swing_sideways', swing=('x',)),
    Motion('swing_upright', swing=('y',)),
)


def sample_states(motion: Motion, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the trajectory of one clip.

    Args:
        motion: The class.
        frames: Number of frames T.
        fps: Frames per second.
        rng: Source of all randomness.

    Returns:
        States of shape (T, 4) in [0, 1), axes as in ``STATE_AXES``. Every row is uniformly
        distributed, whatever the motion.
    """
    start = rng.uniform(size=len(STATE_AXES))
    offsets = motion.offsets(np.arange(frames) / fps, rng)
    # np.mod may round a tiny negative number up to 1.0 itself.
    return np.mod(np.mod(start + offsets, 1.0), 1.0)
