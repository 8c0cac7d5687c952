import numpy as np
import pytest

from nextvid_mm.demo.ablations import Moment, RunResult, select_rows
from nextvid_mm.demo.ablations.scaling import draw_scaling, fit_scaling, width_of


def results(noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for row in select_rows('scaling'):
        width, length = width_of(RunResult(row.name, {}, 0, {}, [], {})), row.steps
        how = 50 + 3 * np.log2(length) + 2 * np.log2(width / 64) + noise * rng.normal()
        losses = dict(loss_flow=1 - 0.1 * np.log2(length))
        scores = dict(how=how, what=60.0)
        moment = Moment(1, int(1000 * length), 1.0, 1.0, losses, {}, scores, 9.0, 1.0)
        found.append(RunResult(row.name, {}, 0, {}, [moment], {}))
    return found


def test_a_plane_is_found_again_with_what_is_uncertain():
    how, what, loss = fit_scaling(results())
    assert how.clips == pytest.approx((3.0, 0.0), abs=1e-9)
    assert how.width == pytest.approx((2.0, 0.0), abs=1e-9)
    assert what.clips[0] == pytest.approx(0.0, abs=1e-9)
    assert loss.clips[0] == pytest.approx(-0.1)
    noisy = [fit_scaling(results(noise=2.0, seed=seed))[0].clips for seed in range(100)]
    assert 85 <= sum(abs(value - 3.0) < half for value, half in noisy) < 100
    assert '+3.0 ± 0.0 with twice the clips' in str(how)


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match='4 runs of the table scaling are too few'):
        fit_scaling(results()[:4])  # one width


def test_the_fit_is_drawn(tmp_path):
    found = results()
    path = draw_scaling(found, fit_scaling(found), tmp_path / 'fit.png')
    assert path.read_bytes()[:4] == b'\x89PNG'
