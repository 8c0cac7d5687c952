"""Photographs that ship inside scikit-image's and scikit-learn's wheels: nothing is downloaded.

Training and validation share no photograph.
"""

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nextvid_mm.demo.data.spec import check_split

__all__ = ['PHOTOGRAPHS', 'load_photographs', 'random_crop']

_FOLDERS = {'skimage': 'data', 'sklearn': 'datasets/images'}
_PACKAGES = {'skimage': 'scikit-image', 'sklearn': 'scikit-learn'}

#: Photographs per split as ``package/file``. The right half of the stereo pair `motorcycle` is
#: left out on purpose: it would put the scene of the left one on both sides.
PHOTOGRAPHS = {
    'train': (
        'skimage/astronaut.png',
        'skimage/brick.png',
        'skimage/camera.png',
        'skimage/coffee.png',
        'skimage/coins.png',
        'skimage/gravel.png',
        'skimage/ihc.png',
        'skimage/motorcycle_left.png',
        'skimage/page.png',
        'skimage/rocket.jpg',
        'sklearn/china.jpg',
    ),
    'val': (
        'skimage/chelsea.png',
        'skimage/grass.png',
        'skimage/hubble_deep_field.jpg',
        'skimage/moon.png',
        'skimage/retina.jpg',
        'sklearn/flower.jpg',
    ),
}

#: Longest side after loading, in pixels: crops are a fraction of it, and smaller is faster.
_LONGEST_SIDE = 512
_CROP_FRACTION = (0.25, 0.6)


@functools.lru_cache(maxsize=len(PHOTOGRAPHS))
def load_photographs(split: str) -> dict[str, np.ndarray]:
    """Load the photographs of a split.

    Args:
        split: 'train' or 'val'.

    Returns:
        Name (without folder and suffix) to RGB image, uint8, shape (H, W, 3). Grey photographs
        have three equal channels. The result is cached: treat it as read-only.

    Raises:
        FileNotFoundError: If a package or a photograph in it is missing.
    """
    check_split(split)
    return {Path(name).stem: _load(name) for name in PHOTOGRAPHS[split]}


def _load(name: str) -> np.ndarray:
    package, file_name = name.split('/')
    package_spec = importlib.util.find_spec(package)
    if package_spec is None or package_spec.origin is None:
        raise FileNotFoundError(
            f'the demo data is cut from photographs of {_PACKAGES[package]}, which is not '
            f'installed: pip install {_PACKAGES[package]}'
        )
    path = Path(package_spec.origin).parent / _FOLDERS[package] / file_name
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: this photograph of {_PACKAGES[package]} is missing; reinstall it with: '
            f'pip install --force-reinstall {_PACKAGES[package]}'
        )
    with Image.open(path) as file:
        image = np.array(file.convert('RGB'))
    ratio = _LONGEST_SIDE / max(image.shape[:2])
    if ratio < 1:
        image = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    image.setflags(write=False)
    return image


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random square, turn it by a multiple of 90 degrees, mirror it and shuffle its colours.

    Args:
        image: RGB image, uint8, shape (H, W, 3).
        size: Height and width of the result in pixels.
        rng: Source of all randomness.

    Returns:
        uint8 image of shape (size, size, 3).
    """
    height, width = image.shape[:2]
    side = max(16, round(rng.uniform(*_CROP_FRACTION) * min(height, width)))
    top = rng.integers(height - side + 1)
    left = rng.integers(width - side + 1)
    crop = image[top : top + side, left : left + side]
    shrinks = side > size
    crop = cv2.resize(
        crop, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    crop = np.rot90(crop, int(rng.integers(4)))
    if rng.integers(2):
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop[..., rng.permutation(3)])
