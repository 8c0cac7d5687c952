from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample

from nextvid_mm.engine.hooks.clip_pictures import ClipVisualizationHook, frame_strip


def prediction(number):
    sample = ActionDataSample().set_gt_label(1)
    sample.set_pred_score(torch.tensor([0.3, 0.7]))
    sample.set_pred_label(torch.tensor([1]))
    sample.set_metainfo(dict(sample_idx=number, path=f'videos/clip{number}.mp4'))
    return sample


@pytest.fixture
def runner(tmp_path):
    from mmengine.visualization import Visualizer

    return SimpleNamespace(visualizer=Visualizer(name=str(tmp_path)))


def test_frames_are_spread_over_the_first_clip():
    clip = torch.arange(5, dtype=torch.uint8).view(1, 1, 5, 1, 1).expand(2, 3, 5, 4, 6)
    strip = frame_strip(clip, 3, text_height=2)
    assert strip.shape == (4 + 2, 3 * 6, 3)
    assert strip[0, ::6, 0].tolist() == [0, 2, 4]
    assert not strip[4:].any()
    assert frame_strip(torch.ones(3, 4, 6, dtype=torch.uint8), 8).shape == (4 + 24, 6, 3)


def test_every_nth_sample_is_drawn_across_batches(runner, tmp_path):
    hook = ClipVisualizationHook(enable=True, interval=3, out_dir=str(tmp_path / 'out'))
    hook.before_test_epoch(runner)
    for first in (0, 2, 4, 6):
        batch = dict(inputs=[torch.full((1, 3, 4, 32, 64), 200, dtype=torch.uint8)] * 2)
        hook.after_test_iter(runner, 0, batch, [prediction(first), prediction(first + 1)])
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['000000_clip0.png', '000003_clip3.png', '000006_clip6.png']
    picture = mmcv.imread(str(tmp_path / 'out' / names[0]))
    assert np.ptp(picture[-24:]) > 100, 'the text is missing'


def test_it_is_off_by_default(runner, tmp_path):
    ClipVisualizationHook(out_dir=str(tmp_path / 'out')).after_test_iter(
        runner, 0, dict(inputs=[]), [prediction(0)]
    )
    assert not (tmp_path / 'out').exists()
