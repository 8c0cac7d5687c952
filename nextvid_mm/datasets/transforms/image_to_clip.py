"""Turns an image into a static clip, so that images and videos train together."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from nextvid_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ImageToClip(BaseTransform):
    """Present a loaded image as a clip of one frame, for MMAction2's spatial transforms.

    :class:`RepeatFrames` later repeats it: what stands between the two runs once per image, not
    once per frame.

    Required keys: ``img`` ``(H, W, 3)``. Added keys: ``imgs``, ``img_shape``, ``original_shape``,
    ``num_clips``, ``clip_len``, ``modality``, ``static`` (True), and ``label`` where MMPretrain's
    ``gt_label`` is there.

    Args:
        to_rgb: Reverse the channels. MMCV's ``LoadImageFromFile`` returns BGR, MMAction2's
            decoders RGB.
    """

    static = True
    """Its clips are one picture all the time."""

    def __init__(self, to_rgb: bool = True) -> None:
        self.to_rgb = to_rgb

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` by a list of one frame.

        Raises:
            ValueError: If the image does not have three channels.
        """
        image = results.pop('img')
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'ImageToClip expects an image (H, W, 3), found {image.shape}')
        frame = np.ascontiguousarray(image[..., ::-1]) if self.to_rgb else image
        results.update(
            imgs=[frame],
            img_shape=frame.shape[:2],
            original_shape=frame.shape[:2],
            num_clips=1,
            clip_len=1,
            modality='RGB',
            static=True,
        )
        if 'gt_label' in results:
            results['label'] = results['gt_label']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(to_rgb={self.to_rgb})'


@TRANSFORMS.register_module()
class RepeatFrames(BaseTransform):
    """Repeat the frame of a static clip; stands after the spatial transforms.

    Several crops of one image become as many clips. All frames of a clip are the same array, so
    nothing may change them in place afterwards.

    Required keys: ``imgs`` with ``clip_len`` 1; ``num_frames`` unless given here. Changed keys:
    ``imgs``, ``clip_len``.

    Args:
        num_frames: Frames per clip. None: ``results['num_frames']``, which a mixture sets.
    """

    static = True
    """Its clips are one picture all the time."""

    def __init__(self, num_frames: int | None = None) -> None:
        self.num_frames = num_frames

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Repeat the frame.

        Raises:
            ValueError: If the clip already has several frames, or the number of frames is unknown.
        """
        if results.get('clip_len') != 1:
            raise ValueError(
                f'RepeatFrames expects the one frame of ImageToClip, found '
                f'clip_len={results.get("clip_len")}'
            )
        length = self.num_frames or results.get('num_frames')
        if not length:
            raise ValueError(
                'RepeatFrames does not know how many frames to make: set num_frames, or '
                'use it inside a MixtureDataset'
            )
        results['imgs'] = [frame for frame in results['imgs'] for _ in range(length)]
        results['clip_len'] = length
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_frames={self.num_frames})'
