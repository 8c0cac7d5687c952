"""Training augmentation of probes as V-JEPA 2 has it (arXiv 2506.09985): none of it by default.

Shape legend: frames are arrays ``(height, width, 3)`` of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from numpy.typing import NDArray
from PIL import Image

from nextvid_mm.datasets.request import isolated_rng
from nextvid_mm.registry import TRANSFORMS

Frame = NDArray[np.uint8]


@TRANSFORMS.register_module()
class EachSegment(BaseTransform):
    """Run transforms on the frames of each segment on their own, with draws of its own.

    MMAction2's transforms crop and flip all segments of a video alike; V-JEPA 2 draws for each.

    Args:
        transforms: configs of the transforms, which leave as many frames as they find.
    """

    def __init__(self, transforms: Sequence[dict | Callable]) -> None:
        self.pipeline = Compose(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Transform ``imgs`` in pieces of ``clip_len``."""
        frames, length, done, after = results['imgs'], results['clip_len'], [], results
        for first in range(0, len(frames), length):
            # Each from what is known of the frames as they were: `img_shape` is no longer theirs.
            after = self.pipeline(dict(results, imgs=list(frames[first : first + length])))
            done += after['imgs']
        return dict(after, imgs=done)


@TRANSFORMS.register_module()
class AutoAugment(BaseTransform):
    """timm's learned augmentation policies, alike on all frames.

    Args:
        policy: timm's name of the policy, such as ``rand-m7-n4-mstd0.5-inc1`` or ``original``.
        size: pixels per side of the crops that are trained on; translations are up to 0.45 of it.
        interpolation: of rotations and shears.
    """

    def __init__(self, policy: str, size: int, interpolation: str = 'bicubic') -> None:
        from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

        make = rand_augment_transform if policy.startswith('rand') else auto_augment_transform
        method = getattr(Image.Resampling, interpolation.upper())
        self.augment = make(policy, dict(translate_const=int(0.45 * size), interpolation=method))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augment ``imgs`` (RGB), or ``img`` (BGR, as MMPretrain loads it)."""
        seed = int(np.random.randint(2**31))
        if 'imgs' in results:
            return dict(results, imgs=[self._one(frame, seed) for frame in results['imgs']])
        return dict(results, img=self._one(results['img'][..., ::-1], seed)[..., ::-1])

    def _one(self, frame: Frame, seed: int) -> Frame:
        with isolated_rng(seed):  # the same operations for every frame
            return np.asarray(self.augment(Image.fromarray(np.ascontiguousarray(frame))))


@TRANSFORMS.register_module()
class RandomErase(BaseTransform):
    """Fill a random rectangle, the same in all frames, with noise (arXiv 1708.04896).

    The noise is what is standard normal after normalisation, rounded and cut to bytes.

    Args:
        prob: of erasing.
        mean: that the preprocessor subtracts, per channel as the frames have them.
        std: that it divides by.
        area: smallest and largest share of a frame.
        aspect: smallest ratio of height and width; the largest is its inverse.
    """

    def __init__(
        self,
        prob: float,
        mean: Sequence[float],
        std: Sequence[float],
        area: Sequence[float] = (0.02, 1 / 3),
        aspect: float = 0.3,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'RandomErase: prob={prob} must lie in [0, 1]')
        self.prob, self.area, self.aspect = prob, tuple(area), aspect
        self.mean, self.std = np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erase in ``imgs`` or ``img``."""
        key = 'imgs' if 'imgs' in results else 'img'
        frames = results[key] if key == 'imgs' else [results[key]]
        box = self._draw(*frames[0].shape[:2]) if np.random.random() < self.prob else None
        if box is None:
            return results
        erased = [self._erase(frame, box) for frame in frames]
        return dict(results, **{key: erased if key == 'imgs' else erased[0]})

    def _draw(self, rows: int, columns: int) -> tuple[slice, slice] | None:
        """A rectangle that fits; None if ten draws give none."""
        for _ in range(10):
            area = np.random.uniform(self.area[0], self.area[1]) * rows * columns
            ratio = math.exp(np.random.uniform(math.log(self.aspect), -math.log(self.aspect)))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < rows and width < columns:
                top = np.random.randint(rows - height + 1)
                left = np.random.randint(columns - width + 1)
                return slice(top, top + height), slice(left, left + width)
        return None

    def _erase(self, frame: Frame, box: tuple[slice, slice]) -> Frame:
        frame = frame.copy()
        noise = np.random.standard_normal(frame[box].shape).astype(np.float32)
        frame[box] = np.clip(np.rint(noise * self.std + self.mean), 0, 255)
        return frame
