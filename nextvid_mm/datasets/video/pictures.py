"""Loads pictures: the one way for scanning, training, extraction and generation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nextvid_mm.datasets.clip_shards import open_file
from nextvid_mm.files import is_remote
from nextvid_mm.registry import TRANSFORMS
from nextvid_mm.storage import Storage

# 8,000 x 8,000: 192 MB of RGB in a worker.
MAX_PIXELS = 64_000_000


def load_picture(
    file: str | Path | bytes | IO[bytes], max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """A picture as it is shown: turned by its EXIF orientation, transparency on white.

    16-bit grey is reduced to its upper eight bits; palettes, CMYK and grey become RGB; of an
    animation, the first frame is taken.

    Args:
        file: path, content, or file opened for reading bytes.
        max_pixels: most pixels; a larger picture is refused by its header, without decoding it.

    Returns:
        ``(H, W, 3)``, RGB.

    Raises:
        OSError: if it is no picture, or damaged.
        ValueError: if it has too many pixels, or numbers that are no colours.
    """
    source: Any = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with Image.open(source) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(
                    f'{width:,} x {height:,} pixels are more than max_pixels={max_pixels:,}'
                )
            return _as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ValueError(f'more pixels than max_pixels={max_pixels:,}: {error}') from error
    except SyntaxError as error:  # Pillow's word for a broken PNG
        raise OSError(str(error)) from error


def _as_rgb(image: Any) -> NDArray[np.uint8]:
    if image.mode == 'F':
        raise ValueError('a picture of floating-point numbers: save it with 8 or 16 bits')
    if image.mode.startswith('I'):  # 16 bits, also where Pillow keeps them in 32
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if 'A' in image.getbands() or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return np.array(image.convert('RGB'))


@TRANSFORMS.register_module()
class LoadPicture(BaseTransform):
    """Load a picture; stands where MMCV's or MMPretrain's ``LoadImageFromFile`` would.

    See :func:`load_picture` for what it makes of EXIF orientation, 16 bits and transparency.

    Required key: ``img_path``. Added keys: ``img`` ``(H, W, 3)``, ``img_shape``, ``ori_shape``.

    Args:
        max_pixels: Most pixels; a larger picture is refused without decoding it.
        to_bgr: Reverse the channels, as OpenMMLab's other transforms expect them.
        storage: How pictures behind an address are fetched: keys of
            :class:`~nextvid_mm.storage.Storage`.
    """

    def __init__(
        self,
        max_pixels: int = MAX_PIXELS,
        to_bgr: bool = True,
        storage: dict[str, Any] | None = None,
    ) -> None:
        self.max_pixels, self.to_bgr, self.storage = max_pixels, to_bgr, Storage(**storage or {})

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the picture to ``results``."""
        file = results['img_path']
        part = results.get('part')
        if part is not None or is_remote(file):
            with open_file(self.storage, file, part, results.get('deadline')) as opened:
                picture = load_picture(cast(IO[bytes], opened), self.max_pixels)
        else:
            picture = load_picture(file, self.max_pixels)
        results['img'] = np.ascontiguousarray(picture[..., ::-1]) if self.to_bgr else picture
        results['img_shape'] = results['ori_shape'] = picture.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_pixels={self.max_pixels}, to_bgr={self.to_bgr})'
