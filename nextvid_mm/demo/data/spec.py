"""What a demo dataset is made of: one frozen value object, hashed to know when to regenerate."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

#: Part of the hash: raise it with every change of the pixels that a spec stands for.
GENERATOR_VERSION = 3

#: Splits of videos and the number that tells their random streams apart.
SPLITS = {'train': 0, 'val': 1}

_IMAGES = {'train': 2, 'val': 3}  # and of still images
_COUNTS = ('num_train', 'num_val', 'num_images', 'num_val_images', 'probe_clips_per_class')


@dataclass(frozen=True)
class DemoSpec:
    """Everything that decides the content of a demo dataset.

    Args:
        seed: The same seed gives the same frames.
        num_train: Training clips. Classes are dealt out in turn, so every class gets the same
            number (within one).
        num_val: Validation clips, cut from photographs that no training clip or image uses.
        frames: Video frames of a clip.
        fps: Frames per second. Speeds are set per second, so more fps means slower per frame.
        size: Height and width of a clip in pixels, even (a demand of ``yuv420p``).
        difficulty: Contrast of the background, 0 to 1. At 0, bright objects move over black; at
            0.5, over photographs of half brightness; at 1, objects and background are photographs
            of the same brightness and a frame is camouflage.
        probe_clips_per_class: Clips per motion in the labelled subset of the training clips, and
            stills per photograph in that of the still images.
        num_images: Still images, cut from the training photographs.
        num_val_images: Further ones, to validate who tells the photographs apart.
        image_size: Height and width of a still image in pixels.

    Raises:
        ValueError: If a value is outside its range. The message names the field.
    """

    seed: int = 0
    num_train: int = 4032
    num_val: int = 600
    frames: int = 24
    fps: int = 8
    size: int = 64
    difficulty: float = 0.25
    probe_clips_per_class: int = 10
    num_images: int = 400
    image_size: int = 96
    num_val_images: int = 550

    def __post_init__(self) -> None:
        number = isinstance(self.difficulty, (int, float)) and not isinstance(self.difficulty, bool)
        if not number or not 0 <= self.difficulty <= 1:
            raise ValueError(
                f'difficulty must be a number between 0 (dark backgrounds) and 1 (full-contrast '
                f'photographs), found {self.difficulty!r}'
            )
        minima = {
            'seed': 0,
            'num_train': 1,
            'num_val': 1,
            'frames': 2,
            'fps': 1,
            'size': 16,
            'probe_clips_per_class': 1,
            'num_images': 0,
            'image_size': 16,
            'num_val_images': 0,
        }
        for name, minimum in minima.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise ValueError(f'{name} must be a whole number >= {minimum}, found {value!r}')
        if self.size % 2:
            raise ValueError(f'size must be even (H.264 in yuv420p), found {self.size}')

    def num_clips(self, split: str) -> int:
        """Number of clips of a split."""
        check_split(split)
        return self.num_train if split == 'train' else self.num_val

    def clip_rng(self, split: str, index: int) -> np.random.Generator:
        """The random stream of one clip: a function of (seed, split, index) and nothing else."""
        check_split(split)
        return np.random.default_rng([self.seed, SPLITS[split], index])

    def num_stills(self, split: str) -> int:
        """Number of still images of a split."""
        check_split(split)
        return self.num_images if split == 'train' else self.num_val_images

    def image_rng(self, index: int, split: str = 'train') -> np.random.Generator:
        """The random stream of one still image."""
        check_split(split)
        return np.random.default_rng([self.seed, _IMAGES[split], index])

    def digest(self) -> str:
        """Hexadecimal hash of all that decides what clip or image number i looks like.

        How many there are is no part of it: a larger dataset keeps the files of a smaller one.
        """
        content = {key: value for key, value in asdict(self).items() if key not in _COUNTS}
        content.update(difficulty=float(self.difficulty), version=GENERATOR_VERSION)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def check_split(split: str) -> None:
    """Raise a ``ValueError`` unless ``split`` is the name of a split."""
    if split not in SPLITS:
        raise ValueError(f'split must be one of {sorted(SPLITS)}, found {split!r}')
