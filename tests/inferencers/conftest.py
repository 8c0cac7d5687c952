"""A tiny encoder's checkpoint, clips whose frame k is grey level 4·k, and broken files."""

import cv2
import numpy as np
import pytest
import torch
from clips import write_clip
from exporting import save_checkpoint

from nextvid_mm.inferencers import FeatureInferencer


@pytest.fixture(scope='session')
def media(tmp_path_factory):
    """``long.mp4`` (44 frames), ``short.mp4`` (5), ``image.png``, and two that cannot be read."""
    folder = tmp_path_factory.mktemp('media')
    write_clip(folder / 'long.mp4', 44, width=64)
    write_clip(folder / 'short.mp4', 5, width=64)
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 2] = 255  # red, in OpenCV's order
    cv2.imwrite(str(folder / 'image.png'), image)
    (folder / 'text.mp4').write_text('this is no video\n' * 50)
    (folder / 'text.jpg').write_text('this is no image')
    return folder


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('checkpoint') / 'iter_5.pth'
    return save_checkpoint(path), str(path)


@pytest.fixture
def make(checkpoint):
    """Builds the inferencer of the tiny checkpoint: 8 frames per window, 16 px, every frame."""

    def build(**changes):
        settings = dict(fps=None, num_frames=8, device='cpu') | changes
        return FeatureInferencer(checkpoint[1], **settings)

    return build
