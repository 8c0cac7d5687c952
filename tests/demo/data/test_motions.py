import numpy as np
import pytest
from scipy.stats import kstest

from nextvid_mm.demo.data.motions import MOTIONS, STATE_AXES, sample_states

FRAMES, FPS = 24, 8


def draw(motion, count):
    rng = np.random.default_rng(0)
    return np.stack([sample_states(motion, FRAMES, FPS, rng) for _ in range(count)])


@pytest.mark.parametrize('motion', MOTIONS, ids=lambda motion: motion.name)
def test_every_frame_of_every_class_is_uniform_on_the_torus(motion):
    states = draw(motion, 1000)
    for frame in (0, FRAMES // 2, FRAMES - 1):
        for axis in range(len(STATE_AXES)):
            # 12 x 3 x 4 fixed draws: the smallest p-value of as many true hypotheses is above this.
            assert kstest(states[:, frame, axis], 'uniform').pvalue > 1e-4
        correlation = np.corrcoef(states[:, frame], rowvar=False) - np.eye(len(STATE_AXES))
        assert np.abs(correlation).max() < 0.15


@pytest.mark.parametrize('motion', MOTIONS, ids=lambda motion: motion.name)
def test_only_the_axes_of_the_class_move_and_in_its_direction(motion):
    states = draw(motion, 50)
    steps = (np.diff(states, axis=1) + 0.5) % 1 - 0.5
    for axis, name in enumerate(STATE_AXES):
        if name in motion.drift:
            assert (np.sign(steps[..., axis]) == motion.drift[name]).all()
            # Over two seconds a person must see it: an eighth of the range or more.
            assert (np.abs(steps[:, :16, axis].sum(axis=1)) > 1 / 8).all()
        elif name in motion.swing:
            direction = np.sign(steps[..., axis])
            turning_points = (np.diff(direction, axis=1) != 0).sum(axis=1)
            assert (turning_points >= 2).all()
        else:
            np.testing.assert_allclose(steps[..., axis], 0, atol=1e-9)


def test_the_time_reversal_of_every_class_is_a_class():
    kinds = [(dict(motion.drift), motion.swing) for motion in MOTIONS]
    for drift, swing in kinds:
        assert ({axis: -sign for axis, sign in drift.items()}, swing) in kinds


def test_speed_is_per_second_not_per_frame():
    motion = MOTIONS[0]
    slow = sample_states(motion, 3, 4, np.random.default_rng(3))
    fast = sample_states(motion, 5, 8, np.random.default_rng(3))
    np.testing.assert_allclose(slow, fast[::2], atol=1e-12)
