"""V-JEPA 2's training augmentation."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from nextvid_mm.datasets.transforms import AutoAugment, EachSegment, RandomErase
from nextvid_mm.registry import TRANSFORMS

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def frames(count=4, size=(40, 48)):
    """Frames that are all the same, of many colours."""
    one = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return [one.copy() for _ in range(count)]


def test_a_policy_does_the_same_to_every_frame_and_follows_the_seed():
    transform = AutoAugment('rand-m7-n4-mstd0.5-inc1', size=32)
    results = []
    for seed in (0, 0, 1, 2):
        np.random.seed(seed)
        after = transform(dict(imgs=frames()))['imgs']
        assert all(frame.shape == (40, 48, 3) for frame in after)
        assert all((frame == after[0]).all() for frame in after)
        results.append(after[0])
    assert (results[0] == results[1]).all()
    assert any((results[0] != other).any() for other in results[2:])
    assert (np.stack(results) != frames(1)[0]).any()


def test_a_policy_leaves_the_process_its_random_numbers():
    transform = AutoAugment('rand-m7-n4-mstd0.5-inc1', size=32)
    after = []
    for count in (1, 8):
        np.random.seed(3)
        transform(dict(imgs=frames(count)))
        after.append(np.random.random())
    assert after[0] == after[1]


def test_images_are_augmented_in_rgb():
    transform, image = AutoAugment('original', size=32), frames(1)[0]
    np.random.seed(5)
    as_image = transform(dict(img=image[..., ::-1]))['img']
    np.random.seed(5)
    (as_frame,) = transform(dict(imgs=[image]))['imgs']
    assert (as_image[..., ::-1] == as_frame).all()


def test_one_rectangle_of_noise_in_all_frames():
    erase = RandomErase(1.0, MEAN, STD)
    shares, values = [], []
    for seed in range(60):
        np.random.seed(seed)
        before = frames()
        changed = np.stack(erase(dict(imgs=before))['imgs']) != np.stack(before)
        where = changed.any(axis=(0, 3))
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        box = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.99, 'noise may hit a colour that was there'
        ratio = box.shape[0] / box.shape[1]
        assert 0.25 < ratio < 4
        shares.append(where.mean())
        inside = np.stack(erase(dict(imgs=before))['imgs'])[:, where]
        values.append(inside.reshape(-1, 3))
        assert (changed[0] != changed[1]).any() or (inside[0] != inside[1]).any()
    assert 0.01 < min(shares) < max(shares) < 0.36
    assert np.mean(shares) == pytest.approx(0.177, abs=0.04)


def test_the_noise_is_standard_normal_after_normalisation():
    np.random.seed(0)
    erase = RandomErase(1.0, MEAN, STD, area=(0.3, 1 / 3), aspect=1.0)
    white = [np.full((200, 200, 3), 255, np.uint8)]
    (frame,) = erase(dict(imgs=white))['imgs']
    noise = (frame[(frame != 255).any(axis=-1)] - MEAN) / STD
    assert abs(np.median(noise, axis=0)).max() < 0.05
    assert np.quantile(noise, 0.84, axis=0) == pytest.approx([1, 1, 1], abs=0.05)


def test_erasing_happens_as_often_as_it_should():
    np.random.seed(0)
    erase, image = RandomErase(0.25, MEAN, STD), frames(1)[0]
    changed = [(erase(dict(img=image))['img'] != image).any() for _ in range(400)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.06)
    with pytest.raises(ValueError, match='prob=2 must lie'):
        RandomErase(2, MEAN, STD)


def test_each_segment_has_draws_of_its_own():
    crop = [
        dict(type='mmaction.RandomResizedCrop', area_range=(0.2, 0.5)),
        dict(type='mmaction.Resize', scale=(16, 16), keep_ratio=False),
    ]
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        transform = TRANSFORMS.build(dict(type='EachSegment', transforms=crop))
    assert isinstance(transform, EachSegment)
    results = dict(imgs=frames(6), clip_len=3, num_clips=2, img_shape=(40, 48), label=1)
    after = transform(results)
    assert after['label'] == 1
    assert len(after['imgs']) == 6
    assert after['imgs'][0].shape == (16, 16, 3)
    segments = np.stack(after['imgs']).reshape(2, 3, 16, 16, 3)
    assert (segments[:, :1] == segments).all(), 'alike inside a segment'
    assert (segments[0] != segments[1]).any()


def test_every_segment_is_cropped_out_of_whole_frames():
    row = np.arange(200, dtype=np.uint8)
    frame = np.broadcast_to(row[:, None, None], (200, 200, 3)).copy()
    crop = [
        dict(type='mmaction.RandomResizedCrop', area_range=(0.1, 0.2)),
        dict(type='mmaction.Resize', scale=(16, 16), keep_ratio=False),
    ]
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        transform = TRANSFORMS.build(dict(type='EachSegment', transforms=crop))
    np.random.seed(0)
    after = transform(dict(imgs=[frame] * 40, clip_len=1, num_clips=40, img_shape=(200, 200)))
    lowest = [int(picture.max()) for picture in after['imgs']]
    assert max(lowest[1:]) > 150, 'a later segment reaches the lower part of the frame'
    assert after['crop_quadruple'][2:].prod() > 0.09, 'of the whole frame'
