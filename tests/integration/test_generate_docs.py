"""What docs/generate.md shows is run on a tiny checkpoint: its commands and its Python."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import save_pretrained
from PIL import Image

from nextvid_mm.datasets.video_writer import encode_video

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/generate.md').read_text(encoding='utf-8')
PYTHON = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
COMMANDS = '\n'.join(re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)).split('\n')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The files that the page names."""
    folder = tmp_path_factory.mktemp('page')
    torch.manual_seed(0)
    save_pretrained(folder / 'CKPT')
    (folder / 'videos').mkdir()
    rng = np.random.default_rng(0)
    for name in ('clip.mp4', 'videos/a.mp4', 'videos/b.mp4'):
        frames = rng.integers(0, 255, (20, 16, 16, 3), np.uint8)
        encode_video(folder / name, frames, 8)
    (folder / 'labelled.txt').write_text('a.mp4 0\nb.mp4 1\n')
    Image.fromarray(frames[0]).resize((30, 20)).save(folder / 'seed.png')
    return folder


def run(command, monkeypatch):
    words = shlex.split(command)
    assert words[0] == 'python'
    monkeypatch.setattr(sys, 'argv', [str(ROOT / words[1]), *words[2:]])
    runpy.run_path(sys.argv[0], run_name='__main__')


@pytest.mark.parametrize('command', [line for line in COMMANDS if line])
def test_commands(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    run(command, monkeypatch)
    printed = capsys.readouterr().out
    if 'stream_demo' in command:
        assert '20 video frames at 8 fps' in printed
        return
    paths = [Path(line) for line in printed.splitlines() if line.startswith('generated/')]
    assert [path.suffix for path in paths] == ['.png', '.gif', '.mp4']
    assert all(path.stat().st_size > 500 for path in paths)
    assert ('seed.png: 30x20 px resized to 16x16 px' in printed) == ('seed.png' in command)


def test_all_commands_were_found():
    assert len([line for line in COMMANDS if line]) == 4


@pytest.mark.parametrize('number', range(len(PYTHON)))
def test_python(number, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(PYTHON[number], 'docs/generate.md', 'exec'), {})


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            'tools/generate.py none.pth clip.mp4',
            'generate: error: none.pth: there is no such checkpoint',
        ),
        ('tools/generate.py CKPT none.mp4', 'generate: error: none.mp4: no such image or video'),
        ('tools/generate.py CKPT clip.mp4 --rollout 0', 'generate: error: rollout=0 must be'),
        ('tools/generate.py encoder.pth clip.mp4', 'encoder.pth holds no decoder'),
        ('tools/stream_demo.py CKPT none.mp4', 'stream_demo: error: .*none.mp4'),
        ('tools/stream_demo.py CKPT 97', 'stream_demo: error: camera 97 does not open'),
        ('tools/stream_demo.py CKPT clip.mp4 --window 0', '--window 0 must be at least 1'),
    ],
)
def test_bad_input_ends_in_one_line(command, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if not Path('encoder.pth').exists():
        save_pretrained('encoder.pth', drop=['head.', 'neck.', 'align_head.', 'reference.'])
    with pytest.raises(SystemExit, match=message) as stop:
        run(f'python {command}', monkeypatch)
    assert '\n' not in str(stop.value)
