import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nextvid_mm.datasets.video.pictures import LoadPicture, load_picture

RED = (220, 20, 20)


def two_halves():
    """Red on the left, blue on the right."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30], picture[:, 30:] = RED, (20, 20, 220)
    return Image.fromarray(picture)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_pictures_are_turned_as_they_are_shown(tmp_path, orientation):
    """A picture stored the other way round, with the note that turns it back."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = two_halves()
    if orientation in back:
        stored = stored.transpose(back[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / 'a.jpg', exif=exif, quality=95)
    found = load_picture(tmp_path / 'a.jpg')
    assert found.shape == (40, 60, 3)
    assert found[20, 10] == pytest.approx(RED, abs=12)
    assert found[20, 50, 2] > 180


def test_16_bits_keep_their_shades(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (16, 1))
    Image.fromarray(ramp).save(tmp_path / 'a.png')
    assert (load_picture(tmp_path / 'a.png')[3, :, 1] == np.arange(256)).all()
    Image.fromarray(ramp).save(tmp_path / 'a.tif')
    assert (load_picture(tmp_path / 'a.tif')[3, :, 1] == np.arange(256)).all()


def test_palette_grey_cmyk_and_alpha(tmp_path):
    picture = two_halves()
    picture.convert('P').save(tmp_path / 'palette.png')
    picture.convert('CMYK').save(tmp_path / 'cmyk.jpg')
    picture.convert('L').save(tmp_path / 'grey.png')
    for name in ('palette.png', 'cmyk.jpg', 'grey.png'):
        found = load_picture(tmp_path / name)
        assert found.shape == (40, 60, 3)
        if name != 'grey.png':
            assert found[20, 10].astype(int) == pytest.approx(RED, abs=60)
    clear = picture.convert('RGBA')
    clear.putalpha(0)
    clear.save(tmp_path / 'clear.png')
    assert (load_picture(tmp_path / 'clear.png') == 255).all()


def header_of(width, height):
    """A PNG of which only the header is true."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    size = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', size) + chunk(b'IDAT', zlib.compress(b'\0' * 99))


def test_too_many_pixels_are_refused_by_the_header():
    for side in (9_000, 30_000, 100_000):
        with pytest.raises(ValueError, match=r'max_pixels=64,000,000'):
            load_picture(header_of(side, side))
    with pytest.raises(ValueError, match=r'60 x 50 pixels are more than max_pixels=1,000'):
        load_picture(header_of(60, 50), max_pixels=1000)


def test_damaged_pictures_raise(tmp_path):
    two_halves().save(tmp_path / 'a.jpg')
    content = (tmp_path / 'a.jpg').read_bytes()
    for broken in (b'', b'no picture', content[: len(content) // 2], header_of(60, 50)):
        with pytest.raises(OSError):  # noqa: PT011 - Pillow has a message for each
            load_picture(broken)
    two_halves().convert('F').save(tmp_path / 'f.tif')
    with pytest.raises(ValueError, match='floating-point numbers'):
        load_picture(tmp_path / 'f.tif')


def test_the_transform_gives_what_mmcv_s_would(tmp_path):
    two_halves().save(tmp_path / 'a.png')
    results = LoadPicture()(dict(img_path=str(tmp_path / 'a.png')))
    assert results['img'][20, 10].tolist() == list(RED[::-1]), 'BGR'
    assert results['img'].flags.c_contiguous
    assert results['img_shape'] == results['ori_shape'] == (40, 60)
    rgb = LoadPicture(to_bgr=False)
    for address in (str(tmp_path / 'a.png'), f'file://{tmp_path}/a.png'):
        assert rgb(dict(img_path=address))['img'][20, 10].tolist() == list(RED)
    with pytest.raises(ValueError, match='max_pixels=100'):
        LoadPicture(max_pixels=100)(dict(img_path=str(tmp_path / 'a.png')))
