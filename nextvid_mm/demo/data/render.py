"""Render one clip: a soft-edged piece of one photograph moves over another photograph.

The photographs ship inside scikit-image's and scikit-learn's wheels: nothing is downloaded.
Training and validation share none.
"""

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nextvid_mm.demo.data.motions import MOTIONS, sample_states
from nextvid_mm.demo.data.spec import DemoSpec, check_split

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

OUTLINES = ('disc', 'polygon', 'blob')

#: Longest side after loading, in pixels: crops are a fraction of it, and smaller is faster.
_LONGEST_SIDE = 512
_CROP_FRACTION = (0.25, 0.6)

_RADIUS = (0.14, 0.34)  # smallest and largest mean radius of an object, in frame widths
_EDGE_SOFTNESS = 0.04  # width of the soft edge, as a fraction of the radius
_OUTLINE_MAX = 1.25  # longest radius of an outline whose mean radius is 1
_CROP_CANDIDATES = 4
_CONTRAST = 0.18  # least standard deviation of a crop's brightness, white being 1,
_MAX_GAIN = 4.0  # unless that takes more amplification than this
_OBJECT_FLOOR = 0.55  # darkest value of an object at difficulty 0, white being 1


def render_clip(spec: DemoSpec, split: str, index: int) -> tuple[np.ndarray, int]:
    """Render the clip number ``index`` of a split.

    Args:
        spec: The dataset.
        split: 'train' or 'val'.
        index: Clip number in the split, 0 to ``spec.num_clips(split) - 1``.

    Returns:
        Frames, uint8 RGB of shape (T, H, W, 3), and the label (an index of ``MOTIONS``).

    Raises:
        ValueError: If the split is unknown.
        IndexError: If the split has no such clip.
    """
    count = spec.num_clips(split)
    if not 0 <= index < count:
        raise IndexError(f'clip {index} of {split}: the spec has clips 0 to {count - 1}')
    label = index % len(MOTIONS)
    rng = spec.clip_rng(split, index)
    background, patch, _ = _draw_scene(spec, split, rng)
    # Drawn last, so that nothing of the scene depends on how many numbers a motion draws.
    states = sample_states(MOTIONS[label], spec.frames, spec.fps, rng)
    frames = np.stack([_compose(background, patch, state) for state in states])
    return frames, label


def clip_states(spec: DemoSpec, split: str, index: int) -> np.ndarray:
    """States ``(T, 4)`` of the object of ``render_clip``, see ``sample_states``."""
    rng = spec.clip_rng(split, index)
    _draw_scene(spec, split, rng)  # for what it draws from the stream
    return sample_states(MOTIONS[index % len(MOTIONS)], spec.frames, spec.fps, rng)


def clip_outline(spec: DemoSpec, split: str, index: int) -> int:
    """Outline of the object of ``render_clip``: a place in ``OUTLINES``."""
    return _draw_scene(spec, split, spec.clip_rng(split, index))[2]


def render_image(spec: DemoSpec, index: int, split: str = 'train') -> tuple[np.ndarray, str]:
    """Cut the still image number ``index`` of a split from a training photograph.

    Both splits are cut from the same photographs, which are the classes of the stills.

    Returns:
        Image, uint8 RGB of shape (image_size, image_size, 3), and the photograph's name.
    """
    photographs = load_photographs('train')
    name = sorted(photographs)[index % len(photographs)]
    return random_crop(photographs[name], spec.image_size, spec.image_rng(index, split)), name


def _draw_scene(
    spec: DemoSpec, split: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw background (H, W, 3) and object (P, P, 4; premultiplied alpha), float32 in [0, 1].

    Also returns the place of the object's outline in ``OUTLINES``.
    """
    photographs = load_photographs(split)
    names = rng.choice(sorted(photographs), size=2, replace=False)
    difficulty = np.float32(spec.difficulty)
    background = difficulty * _even_contrast(random_crop(photographs[names[0]], spec.size, rng))

    patch_size = 2 * round(_RADIUS[1] * _OUTLINE_MAX * spec.size)
    texture = _most_textured(photographs[names[1]], patch_size, rng)
    floor = (1 - difficulty) * _OBJECT_FLOOR
    texture = floor + (1 - floor) * texture
    alpha, kind = _draw_outline(patch_size, rng)
    return background, np.concatenate([texture * alpha, alpha], axis=2), kind


def _most_textured(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The best of a few crops: a turning piece of plain sky would not be seen to turn."""
    crops = [random_crop(image, size, rng) for _ in range(_CROP_CANDIDATES)]
    return _even_contrast(max(crops, key=lambda crop: float(crop.mean(axis=2).std())))


def _even_contrast(image: np.ndarray) -> np.ndarray:
    """Convert to float32 in [0, 1] and raise a low contrast.

    Without it a difficulty would mean one thing for the moon and another for a motorcycle.
    """
    image = image.astype(np.float32) / 255
    gain = np.clip(_CONTRAST / (image.mean(axis=2).std() + 1e-6), 1, _MAX_GAIN)
    mean = image.mean(axis=(0, 1))
    return np.clip(mean + gain * (image - mean), 0, 1)


def _draw_outline(size: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Draw the alpha map (size, size, 1) of a random outline with a soft edge, and its place."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    angle = np.arctan2(y, x) + rng.uniform(0, 2 * np.pi)
    kind = int(rng.integers(len(OUTLINES)))
    if kind == 0:
        outline = np.ones_like(angle)
    elif kind == 1:
        wedge = 2 * np.pi / rng.integers(3, 7)
        outline = np.cos(wedge / 2) / np.cos(np.mod(angle, wedge) - wedge / 2)
        outline *= _OUTLINE_MAX
    else:
        outline = np.ones_like(angle)
        for lobes in (1, 2, 3, 4):
            phase = rng.uniform(0, 2 * np.pi)
            outline += rng.uniform(0.0, 0.22 / lobes) * np.cos(lobes * angle + phase)
        outline *= _OUTLINE_MAX / outline.max()
    # The patch is as wide as the longest radius at the largest size.
    distance = np.hypot(x, y) * _OUTLINE_MAX
    alpha = 1 / (1 + np.exp(-np.clip((outline - distance) / _EDGE_SOFTNESS, -30, 30)))
    # Polygons touch the patch's border at their corners: fade the last pixel.
    return np.where(np.hypot(x, y) < 1, alpha, 0).astype(np.float32)[..., None], kind


def _compose(background: np.ndarray, patch: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Draw one frame (H, W, 3) uint8 with the object at ``state`` (4 numbers in [0, 1))."""
    size = background.shape[0]
    x, y, angle, log_size = (float(value) for value in state)
    scale = (_RADIUS[0] / _RADIUS[1]) ** (1 - log_size)
    # The canvas has room for the whole object wherever its centre lies; folding the canvas onto
    # the frame then makes what leaves on one side come in on the other.
    margin = size // 2
    centre = (patch.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), 360 * angle, scale)
    matrix[:, 2] += np.array([x, y]) * size + margin - 0.5 - centre
    canvas = cv2.warpAffine(patch, matrix, (2 * size, 2 * size), flags=cv2.INTER_LINEAR)
    folded = canvas.reshape(2, size, 2, size, 4).sum(axis=(0, 2))
    folded = np.roll(folded, (-margin, -margin), axis=(0, 1))
    frame = background * (1 - folded[..., 3:]) + folded[..., :3]
    return np.clip(frame * 255 + 0.5, 0, 255).astype(np.uint8)


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
