from pathlib import Path

import numpy as np
import pytest

from nextvid_mm.demo.data import photographs
from nextvid_mm.demo.data.photographs import PHOTOGRAPHS, load_photographs, random_crop


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
    spec = photographs.importlib.util.spec_from_file_location('skimage', package / '__init__.py')
    monkeypatch.setattr(photographs.importlib.util, 'find_spec', lambda name: spec)
    with pytest.raises(FileNotFoundError, match=r'astronaut\.png.*reinstall scikit-image'):
        photographs._load('skimage/astronaut.png')
    monkeypatch.setattr(photographs.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(FileNotFoundError, match='pip install scikit-learn'):
        photographs._load('sklearn/china.jpg')


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
            assert photographs._load(name).size
