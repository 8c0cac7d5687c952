import json

import numpy as np
import pytest
import torch

from benchmarks import states as measured
from benchmarks.states import (
    FRAMES,
    QUANTITIES,
    STEP,
    clip_frames,
    decode,
    main,
    rank_curve,
    targets_in_world,
    targets_of,
)
from benchmarks.worlds.bodies import WorldSpec, draw_scene
from nextvid_mm.config_files import project_folder
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.render import OUTLINES, clip_outline, clip_states, render_clip
from nextvid_mm.demo.data.spec import DemoSpec


def test_velocities_are_those_of_the_motion_across_the_edge_too():
    states = np.full((1, 16, 4), 0.5)
    states[0, :, 0] = np.mod(0.8 + 0.04 * np.arange(16), 1)  # right, over the edge at frame 5
    found = targets_of(states)
    np.testing.assert_allclose(found['velocity'], [[0.04, 0.0]], atol=1e-12)
    np.testing.assert_allclose(found['growth'], [[0.0]], atol=1e-12)
    place = 2 * np.pi * states[0, 2 * STEP + 1, 0]
    np.testing.assert_allclose(found['position'][0, :2], [np.cos(place), np.sin(place)])


def test_states_are_those_of_the_clip():
    spec = DemoSpec(frames=6)
    states = clip_states(spec, 'val', 1)  # moves right
    change = (np.diff(states, axis=0) + 0.5) % 1 - 0.5
    assert (change[:, 0] > 0).all()
    np.testing.assert_allclose(change[:, 1:], 0, atol=1e-12)


def test_states_are_those_of_the_frames_that_the_probe_is_shown(tmp_path, monkeypatch):
    spec = DemoSpec(num_train=120, num_val=24, num_images=110, num_val_images=110)
    make_demo_data(tmp_path / measured.DATA, spec, workers=0, quiet=True)
    monkeypatch.setattr(measured, 'PROBE', str(project_folder() / measured.PROBE))
    monkeypatch.chdir(tmp_path)
    found = measured.demo_clips('val', 2)
    shown = range(*clip_frames(spec).indices(spec.frames))
    assert len(shown) == FRAMES
    for index, clip in enumerate(found.clips):
        frames = torch.from_numpy(render_clip(spec, 'val', index)[0]).permute(3, 0, 1, 2).float()
        for place, number in enumerate(shown):
            errors = (frames - clip[:, place, None].float()).abs().mean((0, 2, 3))
            assert errors.argmin() == number, (index, place)
    whole = np.stack([clip_states(spec, 'val', index) for index in range(2)])
    expected = targets_of(whole[:, shown.start :])
    for quantity in QUANTITIES:
        np.testing.assert_array_equal(found.states[quantity], expected[quantity])


def test_what_is_linear_in_features_is_read_off_and_noise_is_not():
    rng = np.random.default_rng(0)
    states = rng.uniform(size=(600, 16, 4))
    targets = targets_of(states)
    noise = rng.normal(size=(600, 8))
    features = torch.from_numpy(np.concatenate([targets['position'], noise], 1)).float()
    known, wanted = (
        {k: v[part] for k, v in targets.items()} for part in (slice(400), slice(400, 600))
    )
    scores = decode(features[:400], features[400:], known, wanted)
    assert set(scores) == set(QUANTITIES)
    assert scores['position'] == pytest.approx(1, abs=0.01)
    assert abs(scores['growth']) < 0.1


def test_the_outline_is_that_of_the_clip():
    spec = DemoSpec(frames=2)
    kinds = [clip_outline(spec, 'val', index) for index in range(6)]
    assert len(set(kinds)) > 1
    assert set(kinds) <= set(range(len(OUTLINES)))
    assert kinds == [clip_outline(spec, 'val', index) for index in range(6)]


def test_ranks_are_read_from_all_logs_of_a_run(tmp_path):
    for name, steps in (('a', (20, 40)), ('b', (40, 60))):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps(dict(step=step, feature_rank=step / 4)) for step in steps]
        (folder / 'scalars.json').write_text('\n'.join([*lines, json.dumps(dict(step=80))]))
    assert rank_curve(tmp_path) == [(20, 5.0), (40, 10.0), (60, 15.0)]


def test_the_figure_is_drawn_from_what_was_measured(tmp_path, capsys):
    scores = dict.fromkeys(QUANTITIES, 0.5) | dict(kind=40.0, rank=30.0)
    file, figure = tmp_path / 'states.json', tmp_path / 'figures/states.png'
    file.write_text(json.dumps(dict(untrained=scores, full=scores | dict(ranks=[[20, 9.0]]))))
    main(['--json', str(file), '--figure', str(figure)])
    assert figure.read_bytes().startswith(b'\x89PNG')
    assert '40.0' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['--json', str(tmp_path / 'absent.json')])


def test_states_of_a_body_are_those_of_its_way():
    spec = WorldSpec()
    ways = np.stack([draw_scene(spec, 'val', index)[0].ways for index in (1, 6)])  # right, coming
    found = targets_in_world(ways)
    assert found['velocity'][0, 0] > 0
    assert not found['velocity'][1].any()
    assert found['growth'][1] > 0
    np.testing.assert_allclose(found['position'][0], ways[0, 2 * STEP + 1, :2])
