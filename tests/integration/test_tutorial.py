"""The notebook of docs/tutorial.md, run from top to bottom with few videos and steps."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from nextvid_mm.cli import main
from nextvid_mm.demo.data import own
from nextvid_mm.plan import proposal, proposed_schedule, survey

DOCS = Path(__file__).resolve().parents[2] / 'docs'
# What makes the tools quick; everything else is the page's.
ONE_PROCESS = [
    f'{split}_dataloader.{key}'
    for split in ('train', 'val')
    for key in ('num_workers=0', 'persistent_workers=False')
]
EPOCH = [*ONE_PROCESS, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
QUICK = {
    'make_demo_data': ['--workers', '0'],
    'scan_dataset': ['--workers', '1'],
    'train configs/my_clips/pretrain.py': ['--cfg-options', *ONE_PROCESS[:2]],
    'train configs/my_clips/finetune.py': ['--cfg-options', *EPOCH],
    'evaluate': [
        *('--seeds', '0', '--cfg-options', *EPOCH, 'model.cls_head.lrs=[1e-3]'),
        'model.cls_head.weight_decays=[0.1]',
    ],
    'generate': ['--steps', '2'],
    'report': ['--max-videos', '12'],
    'predict': ['--workers', '0'],
}


@pytest.fixture
def cells():
    return json.loads((DOCS / 'tutorial.ipynb').read_text(encoding='utf-8'))['cells']


@pytest.fixture
def small(monkeypatch):
    """Short videos, and a proposal of eight steps that are not timed."""
    monkeypatch.setattr(own, 'RATES', (8,))
    monkeypatch.setattr(own, 'SECONDS', (4.0, 4.5))
    monkeypatch.setattr(survey, 'FEWEST_CLIPS', 8)
    monkeypatch.setattr(proposal, 'timed_seconds_per_clip', lambda _, stages: [20.0] * len(stages))
    monkeypatch.setattr(proposal, 'clips_at_once', lambda *_: [2] * 4)
    monkeypatch.setattr(proposed_schedule, 'BATCHES', (2,))
    monkeypatch.setattr(proposed_schedule, 'FEWEST_STEPS', 4)


def quick(words):
    """A command of the page with a small budget, as the words of a tool's command line."""
    tool = Path(words[1]).stem
    words = words[2:]
    if '--own' in words:
        words[words.index('--own') + 1] = '60'  # videos
    more = next((QUICK[key] for key in QUICK if f'{tool} {words[0]}'.startswith(key)), [])
    if '--cfg-options' in words and '--cfg-options' in more:
        place = words.index('--cfg-options') + 1
        words[place:place], more = more[1:], []
    return tool, [*words, *more]


def run(commands):
    """Run the commands of a cell, each as if in a process of its own."""
    for line in commands.replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == 'python':
            tool, words = quick(words)
            for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
                manager._instance_dict.clear()
            main(tool, words)


def test_page_and_notebook_are_the_same(cells):
    source = runpy.run_path(str(DOCS / 'notebook.py'))
    page = (DOCS / 'tutorial.md').read_text(encoding='utf-8')
    assert source['notebook'](page)['cells'] == cells, 'run python docs/notebook.py'
    commands = [cell for cell in cells if cell['source'][0] == '%%bash\n']
    assert len(commands) == page.count('```bash') > 10
    pictures = [DOCS / name for name in re.findall(r'!\[[^\]]*\]\((\S+?)[ )]', page)]
    assert sorted(pictures) == sorted((DOCS / 'figures/tutorial').iterdir())
    assert all(picture.stat().st_size < 60_000 for picture in pictures)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(cells, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    for cell in cells[1:]:
        text = ''.join(cell['source'])
        if text.startswith('%%bash\n'):
            run(text)
        elif cell['cell_type'] == 'code':
            (picture,) = re.fullmatch(r"Image\('(.*)'\)", text).groups()
            assert Path(picture).stat().st_size > 1000, picture
    assert 'move_left' in Path('predictions.csv').read_text()
    draw = runpy.run_path(str(DOCS / 'draw_tutorial.py'))
    for shown in (draw['first_picture'](draw['REPORT']), draw['frames_of']('stream.mp4', (0, 3))):
        assert len(draw['small'](shown)) < draw['MOST_BYTES']
    shutil.rmtree('work_dirs')  # what is exported needs nothing else
    run('python tools/predict.py checkpoints/my_clips data/my_clips/000_move_left.webm --top-k 1')
    assert 'not read' not in capsys.readouterr().err
