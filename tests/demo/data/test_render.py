from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nextvid_mm.demo.data import render
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.render import (
    PHOTOGRAPHS,
    load_photographs,
    random_crop,
    render_clip,
    render_image,
)
from nextvid_mm.demo.data.spec import DemoSpec

NUM_TRAIN, NUM_VAL = 960, 360


def test_a_clip_is_a_function_of_seed_split_and_index():
    spec = DemoSpec(frames=4)
    frames, label = render_clip(spec, 'train', 25)
    assert frames.shape == (4, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert label == 25 % len(MOTIONS)
    np.testing.assert_array_equal(frames, render_clip(spec, 'train', 25)[0])
    for other in (
        render_clip(spec, 'train', 26)[0],
        render_clip(spec, 'val', 25)[0],
        render_clip(replace(spec, seed=1), 'train', 25)[0],
    ):
        assert (frames != other).mean() > 0.3


def test_index_outside_the_split_is_an_error():
    with pytest.raises(IndexError, match='0 to 599'):
        render_clip(DemoSpec(), 'val', 600)
    with pytest.raises(ValueError, match="'test'"):
        render_clip(DemoSpec(), 'test', 0)


def test_difficulty_is_the_contrast_of_the_background():
    levels = [render_clip(DemoSpec(frames=2, difficulty=d), 'val', 5)[0][0] for d in (0, 0.5, 1)]
    dark, half, full = (level.astype(int) for level in levels)
    background = (dark == 0).all(axis=2)
    assert 0.3 < background.mean() < 1
    np.testing.assert_allclose(half[background], full[background] / 2, atol=1)
    assert dark[~background].mean() > full[~background].mean()


def patch_and_background(size=64):
    axis = np.arange(size // 2) - (size // 2 - 1) / 2
    blob = np.exp(-(axis[:, None] ** 2 + axis**2) / 30).astype(np.float32)
    patch = np.repeat(blob[..., None], 4, axis=2)
    return patch, np.zeros((size, size, 3), np.float32)


def circular_centre(frame):
    """Centre of brightness on the torus, in frame widths (x, y)."""
    weight = frame.astype(float).sum(axis=2)
    turns = (np.arange(len(weight)) + 0.5) / len(weight)
    sums = [(weight.sum(axis=a) * np.exp(2j * np.pi * turns)).sum() for a in (0, 1)]
    return np.angle(sums) / (2 * np.pi) % 1


@pytest.mark.parametrize('centre', [(0.5, 0.5), (0.02, 0.3), (0.97, 0.99), (0.25, 0.0)])
def test_an_object_is_drawn_where_its_state_says_and_wraps_around(centre):
    patch, background = patch_and_background()
    frame = render._compose(background, patch, np.array([*centre, 0.3, 1.0]))
    error = (circular_centre(frame) - centre + 0.5) % 1 - 0.5
    assert np.abs(error).max() * 64 < 0.1  # pixels
    middle = render._compose(background, patch, np.array([0.5, 0.5, 0.3, 1.0]))
    assert frame.sum() == pytest.approx(middle.sum(), rel=0.01)


def test_growing_angle_turns_left_and_growing_size_grows():
    patch, background = patch_and_background()
    patch[:16] = 0  # what is left is the lower half
    lower = render._compose(background, patch, np.array([0.5, 0.5, 0.0, 1.0]))
    assert lower[32:].sum() > 5 * lower[:32].sum()
    # A quarter turn to the left (counter-clockwise) moves what is below to the right.
    right = render._compose(background, patch, np.array([0.5, 0.5, 0.25, 1.0]))
    assert right[:, 32:].sum() > 5 * right[:, :32].sum()
    sizes = [
        render._compose(background, patch, np.array([0.5, 0.5, 0.0, s])).sum()
        for s in (0.0, 0.5, 0.99)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def middle_frames():
    """Coarse pixels of one frame per clip, one second into it; bright objects on black."""
    spec = DemoSpec(frames=2, fps=1, difficulty=0.0)
    data = {}
    for split, count in (('train', NUM_TRAIN), ('val', NUM_VAL)):
        clips = [render_clip(spec, split, index) for index in range(count)]
        small = [cv2.resize(frames[1], (8, 8), interpolation=cv2.INTER_AREA) for frames, _ in clips]
        data[split] = np.stack(small).reshape(count, -1) / 255, [label for _, label in clips]
    return data


@pytest.fixture(scope='module')
def frames():
    return middle_frames()


def classifiers():
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return {'linear': linear, 'neighbours': KNeighborsClassifier(15)}


@pytest.mark.parametrize('name', sorted(classifiers()))
def test_a_single_frame_says_nothing_about_the_class(frames, name):
    classifier = classifiers()[name].fit(*frames['train'])
    # Chance is 1/12 = 8.3 %; three standard errors of 360 clips are 4.4 %.
    assert classifier.score(*frames['val']) < 0.127


def test_the_single_frame_classifier_would_notice_a_leak(monkeypatch):
    # The same motions from the middle of the frame instead of anywhere on the torus.
    def from_the_middle(motion, frames, fps, rng):
        return (0.5 + motion.offsets(np.arange(frames) / fps, rng)) % 1

    monkeypatch.setattr(render, 'sample_states', from_the_middle)
    frames = middle_frames()
    assert classifiers()['linear'].fit(*frames['train']).score(*frames['val']) > 0.25


def test_still_images_name_their_photograph():
    spec = DemoSpec(image_size=48)
    image, name = render_image(spec, 0)
    assert image.shape == (48, 48, 3)
    assert name == 'astronaut'
    assert (image != render_image(replace(spec, seed=1), 0)[0]).any()


def test_training_and_validation_share_no_photograph():
    images = {split: load_photographs(split) for split in PHOTOGRAPHS}
    assert not set(images['train']) & set(images['val'])
    contents = [image.tobytes() for split in images.values() for image in split.values()]
    assert len(set(contents)) == len(PHOTOGRAPHS['train']) + len(PHOTOGRAPHS['val'])
    assert 'motorcycle_right' not in str(PHOTOGRAPHS), 'the same scene as motorcycle_left'


@pytest.mark.parametrize('split', sorted(PHOTOGRAPHS))
def test_photographs_are_rgb_and_large_enough(split):
    for image in load_photographs(split).values():
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert min(image.shape[:2]) >= 150
        assert not image.flags.writeable


def test_photographs_lie_in_the_installed_packages(monkeypatch, tmp_path):
    package = tmp_path / 'skimage'
    package.mkdir()
    (package / '__init__.py').write_text('')
    spec = render.importlib.util.spec_from_file_location('skimage', package / '__init__.py')
    monkeypatch.setattr(render.importlib.util, 'find_spec', lambda name: spec)
    with pytest.raises(FileNotFoundError, match=r'astronaut\.png.*reinstall scikit-image'):
        render._load('skimage/astronaut.png')
    monkeypatch.setattr(render.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='pip install scikit-learn'):
        render._load('sklearn/china.jpg')


@pytest.mark.parametrize('size', [16, 64, 200])
def test_random_crop_is_a_square_of_the_image(size):
    flat = np.zeros((100, 80, 3), np.uint8)
    flat[:] = (10, 20, 30)
    crop = random_crop(flat, size, np.random.default_rng(0))
    assert crop.shape == (size, size, 3)
    assert sorted(crop[0, 0].tolist()) == [10, 20, 30]
    assert crop.flags.c_contiguous


def test_no_pooch_download_is_needed():
    for names in PHOTOGRAPHS.values():
        for name in names:
            assert Path(name).suffix in {'.png', '.jpg'}
            assert render._load(name).size
