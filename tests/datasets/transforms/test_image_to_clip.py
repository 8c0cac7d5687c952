import numpy as np
import pytest

from nextvid_mm.datasets.transforms.image_to_clip import ImageToClip, RepeatFrames
from nextvid_mm.registry import TRANSFORMS


@pytest.fixture
def image():
    return np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


def test_image_becomes_a_clip_of_one_rgb_frame(image):
    results = ImageToClip()(dict(img=image, gt_label=3))
    (frame,) = results['imgs']
    assert (frame == image[..., ::-1]).all()
    assert 'img' not in results
    assert results['static'] is True
    assert results['label'] == 3
    assert results['img_shape'] == results['original_shape'] == (2, 4)
    assert (results['num_clips'], results['clip_len'], results['modality']) == (1, 1, 'RGB')


def test_channels_may_stay(image):
    (frame,) = TRANSFORMS.build(dict(type='ImageToClip', to_rgb=False))(dict(img=image))['imgs']
    assert frame is image


def test_frames_are_repeated_as_often_as_asked(image):
    results = RepeatFrames()({**ImageToClip()(dict(img=image)), 'num_frames': 6})
    assert len(results['imgs']) == results['clip_len'] == 6
    own = RepeatFrames(num_frames=2)({**ImageToClip()(dict(img=image)), 'num_frames': 6})
    assert len(own['imgs']) == own['clip_len'] == 2


def test_crops_become_clips_one_after_another(image):
    results = RepeatFrames(2)(dict(imgs=[image, image + 1], clip_len=1))
    assert [int(frame[0, 0, 0]) for frame in results['imgs']] == [0, 0, 1, 1]


def test_refuses_what_is_no_image_or_already_a_clip(image):
    with pytest.raises(ValueError, match=r'image \(H, W, 3\), found \(2, 4\)'):
        ImageToClip()(dict(img=image[..., 0]))
    with pytest.raises(ValueError, match='found clip_len=16'):
        RepeatFrames(4)(dict(imgs=[image] * 16, clip_len=16))
    with pytest.raises(ValueError, match='set num_frames'):
        RepeatFrames()(dict(imgs=[image], clip_len=1))
