import pytest

from benchmarks.scale import encoder_scaling, encoder_work, exponent, step_scaling
from benchmarks.workload import Workload

LOAD = Workload('tiny', frames=4, batch=1)


def test_the_exponent_of_a_power_is_its_exponent():
    assert exponent([1, 2, 4, 8], [3 * n**1.7 for n in (1, 2, 4, 8)]) == pytest.approx(1.7)


def test_many_frames_cost_more_than_linear_and_less_than_square():
    masks = [(60, 196), (20, 236)]
    work = [
        encoder_work(Workload('base', frames=n, batch=1, pixels=256), masks) for n in (16, 64, 4096)
    ]
    assert 1 < exponent([16, 64], work[:2]) < 1.5
    assert exponent([64, 4096], work[1:]) > 1.5


def test_frames_are_measured_and_counted():
    report = encoder_scaling(LOAD, frames=(4, 8), repeats=1)
    assert [row['frames'] for row in report.rows] == [4, 8]
    assert report.rows[1]['GFLOP'] > 2 * report.rows[0]['GFLOP']
    assert report.settings['counted_exponent'] > 1


@pytest.mark.parametrize(('axis', 'values'), [('batch', (1, 2)), ('size', ('tiny',))])
def test_a_step_is_measured_along_an_axis(axis, values):
    report = step_scaling(LOAD, axis, values, repeats=1)
    assert [row[axis] for row in report.rows] == list(values)
    assert len(report.notes) == (axis == 'batch')


def test_unknown_axes_are_refused():
    with pytest.raises(ValueError, match="axis='depth' is not one of frames"):
        step_scaling(LOAD, 'depth')
