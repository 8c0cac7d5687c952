import numpy as np
import pytest

from benchmarks.worlds import bodies
from benchmarks.worlds.__main__ import main, make_world
from benchmarks.worlds.bodies import BODIES, MOTIONS, WorldSpec, camera_axes, path
from nextvid_mm.config_files import checked_config

SPEC = WorldSpec(num_train=112, num_val=56)


def test_every_pair_of_motion_and_body_comes_equally_often():
    pairs = [SPEC.labels(index) for index in range(SPEC.num_train)]
    assert {pairs.count(pair) for pair in pairs} == {2}
    assert len(set(pairs)) == len(MOTIONS) * len(BODIES) == 56


@pytest.mark.parametrize(('motion', 'axis', 'sign'), [(0, 0, -1), (2, 1, 1), (5, 2, -1), (6, 3, 1)])
def test_a_motion_moves_one_axis_and_the_middle_tells_nothing(motion, axis, sign):
    ways = path(motion, SPEC, np.random.default_rng(0))
    change = ways[-1] - ways[0]
    assert np.sign(change[axis]) == sign
    assert not np.delete(change, axis).any()
    middle = (ways[11] + ways[12]) / 2
    other = path(motion ^ 1, SPEC, np.random.default_rng(0))
    np.testing.assert_allclose(middle, (other[11] + other[12]) / 2)


def test_the_camera_looks_along_its_azimuth():
    right, up, back = camera_axes(90, 0)
    np.testing.assert_allclose(right, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(back, [0, -1, 0], atol=1e-12)


def test_a_missing_simulator_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(bodies.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit, match='mujoco and gymnasium missing: pip install -r') as end:
        main(['--out', str(tmp_path)])
    assert '\n' not in str(end.value)


def test_lists_are_written_and_clips_of_another_kind_refused(monkeypatch, tmp_path):
    noise = np.zeros((2, 16, 16, 3), np.uint8)
    monkeypatch.setattr('benchmarks.worlds.__main__.require_simulator', lambda: None)
    monkeypatch.setattr(
        'benchmarks.worlds.__main__.render_clip', lambda spec, split, index: (noise, 0, 0)
    )
    make_world(tmp_path, SPEC, quiet=True)
    for question, classes in (('how', 8), ('what', 7)):
        names = (tmp_path / question / 'label_map.txt').read_text().splitlines()
        assert len(names) == classes
        lines = (tmp_path / question / 'train_10.txt').read_text().splitlines()
        assert len(lines) == 10 * classes
        for line in lines:
            name, label = line.split()
            assert names[int(label)] in name
            assert (tmp_path / 'videos_train' / name).is_file()
    with pytest.raises(ValueError, match='another specification'):
        make_world(tmp_path, WorldSpec(seed=1), quiet=True)


@pytest.mark.parametrize('name', ['pretrain', 'probe_how', 'probe_what'])
def test_configs_have_no_unknown_key(name):
    config = checked_config(f'benchmarks/worlds/{name}.py')
    assert 'data/demo' not in str(config.train_dataloader)


def test_what_is_rendered_moves_as_its_label_says():
    try:
        bodies.require_simulator()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    for motion, axis, sign in ((0, 2, -1), (1, 2, 1), (2, 1, -1), (3, 1, 1)):
        frames, label, _ = bodies.render_clip(WorldSpec(contrast=0.0), 'val', 8 + motion)
        assert label == motion
        bright = frames.sum(3) > 60
        places = [np.argwhere(frame).mean(0) for frame in bright if frame.any()]
        assert sign * (places[-1] - places[0])[axis - 1] > 8  # pixels
