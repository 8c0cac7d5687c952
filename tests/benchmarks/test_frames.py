import os

import numpy as np
import pytest

from benchmarks.frames import Verdict, judge
from benchmarks.numbered_files import Kind, kinds, number_of, picture, write


def test_numbers_are_read_back():
    assert [number_of(picture(n)) for n in (0, 1, 511, 1023)] == [0, 1, 511, 1023]


def test_wrong_frames_are_told_from_right_ones(tmp_path, monkeypatch):
    kind = Kind('a.mp4', 'mpeg4', {'b': '1M'}, dict(frames=150))
    path = write(kind, tmp_path)
    assert judge(path, kind, clips=3).right == 3
    monkeypatch.setattr('benchmarks.frames._clip', lambda *_: (np.arange(16)[::-1], np.zeros(16)))
    assert judge(path, kind, clips=3) == Verdict(right=0, backwards=3)


@pytest.mark.skipif(not hasattr(os, 'sched_getscheduler'), reason='no such call on this system')
def test_no_encoder_leaves_the_process_real_time(tmp_path):
    for kind in (kind for kind in kinds() if kind.codec == 'libsvtav1'):
        write(kind._replace(settings=dict(frames=2)), tmp_path)
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
