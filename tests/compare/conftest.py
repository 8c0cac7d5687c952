"""Tiny videos and an untrained encoder, made once."""

import pytest
from probe_run import make_videos, save_encoder


@pytest.fixture(scope='session')
def videos(tmp_path_factory):
    """Folder with ``data/`` and ``encoder.pth``."""
    root = tmp_path_factory.mktemp('compare')
    make_videos(root / 'data')
    save_encoder(root / 'encoder.pth')
    return root
