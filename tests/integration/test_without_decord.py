"""Nothing of the package needs decord, which has no wheels for some machines.

More of the suite runs without it by PYTHONPATH=tests/support/without_decord python -m pytest.
"""

import os
import subprocess
import sys
from pathlib import Path

from clips import write_clip

ROOT = Path(__file__).resolve().parents[2]
USE = """
import sys
try:
    import decord
except ModuleNotFoundError:
    pass
else:
    raise SystemExit('decord is there')
import nextvid_mm.datasets, nextvid_mm.engine, nextvid_mm.inferencers
from nextvid_mm.datasets.scan import check_file
from nextvid_mm.datasets.transforms.decode import VideoDecode, VideoInit
from nextvid_mm.datasets.transforms.sampling import SampleClipByTime

results = dict(filename=sys.argv[1])
for step in (VideoInit(), SampleClipByTime(fps=8, num_frames=4), VideoDecode()):
    results = step(results)
print(len(results['imgs']), 'frames,', check_file(sys.argv[1]).kind or 'good')
try:
    VideoInit(backend='decord')
except ImportError as error:
    print(error)
"""


def test_a_clip_is_read_and_a_file_checked(tmp_path):
    path = os.pathsep.join([str(ROOT / 'tests/support/without_decord'), str(ROOT)])
    done = subprocess.run(
        [sys.executable, '-c', USE, str(write_clip(tmp_path / 'a.mp4'))],
        env=os.environ | dict(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == '4 frames, good'
    assert second.startswith("backend='decord' cannot be used (the package is not installed)")
