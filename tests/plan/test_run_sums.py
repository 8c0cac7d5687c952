"""Sums of a run, against a hand count of a small one."""

import io
from pathlib import Path

import pytest
from mmengine.config import Config
from rich.console import Console

from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.run_sums import describe, run_sums

ROOT = Path(__file__).resolve().parents[2]
STAGES = [
    dict(name='a', steps=10, lr=1e-4, tau_samples=4, num_frames=4, batch_size=6),
    dict(name='b', steps=5, lr=1e-4, tau_samples=1, num_frames=8, batch_size=3),
]


def make(folder, **model):
    (folder / 'list.txt').write_text('a.mp4\nb.mp4\n\nc.mp4\n')
    mask = dict(num_blocks=1, scale=0.4, num_visible=10)
    images = dict(type='Images', pipeline=[dict(type='ImageToClip')])
    videos = dict(type='Videos', ann_file=str(folder / 'list.txt'))
    return Config(
        dict(
            model=dict(type='NextVid', backbone=dict(type='CausalViT', img_size=64), **model),
            train_cfg=dict(stages=STAGES),
            train_dataloader=dict(
                dataset=dict(
                    sources=[
                        dict(name='images', weight=1, dataset=images),
                        dict(name='videos', weight=3, dataset=videos),
                    ],
                    pipeline=[
                        dict(type='FrameIsolatedMasking', patch_size=16, strategies=[mask] * 2)
                    ],
                )
            ),
        )
    )


def test_by_hand(tmp_path):
    cfg = make(tmp_path)
    sums = run_sums(cfg, StageTable(STAGES))
    assert (sums.steps, sums.clips, sums.unit_frames, sums.unit_clips) == (15, 75, 4, 60 + 30)
    assert sums.tokens == 60 * 2 * 16 + 15 * 4 * 16
    assert sums.masks == [(10, 6)] * 2
    assert sums.encoded == (60 * 1 + 15 * 3) * 2 * 10
    assert sums.predicted == (60 * 1 + 15 * 3) * 2 * 6
    images, videos = sums.sources
    assert images.clips + videos.clips == 75
    assert images.clips == pytest.approx(75 / 4, abs=15), 'inside of a block of 256'
    assert (images.static, videos.static) == (True, False)
    assert (images.items, videos.items) == (None, 3)
    every = run_sums(make(tmp_path, queries='all'), StageTable(STAGES))
    assert every.predicted == (60 + 45) * 2 * 16


@pytest.mark.parametrize(
    ('name', 'content', 'columns', 'items'),
    [
        ('a.txt', '# made by hand\na.mp4 3\n\nb.mp4 1\n', None, 2),
        ('a.csv', 'path,label\na.mp4,3\nb.mp4,1\n', None, 2),
        ('a.csv', 'video,label\na.mp4,3\n', dict(path='video'), 1),
        ('a.parquet', dict(path=['a.mp4', 'b.mp4', 'c.mp4']), None, 3),
        ('a.json', '{\n"images":\n[]}\n', None, None),
        ('a.pkl', b'\x80\x04\xff', None, None),
    ],
)
def test_items_are_the_entries_of_a_list_of_any_kind(tmp_path, name, content, columns, items):
    if name.endswith('.parquet'):
        pyarrow = pytest.importorskip('pyarrow')
        pytest.importorskip('pyarrow.parquet').write_table(pyarrow.table(content), tmp_path / name)
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        (tmp_path / name).write_text(content)
    cfg = make(tmp_path)
    dataset = cfg.train_dataloader.dataset.sources[1].dataset
    dataset.ann_file, dataset.columns = str(tmp_path / name), columns
    assert run_sums(cfg, StageTable(STAGES)).sources[1].items == items


def test_what_is_printed(tmp_path):
    console = Console(file=io.StringIO(), width=150)
    for part in describe(run_sums(make(tmp_path), StageTable(STAGES))):
        console.print(part)
    text = console.file.getvalue()
    for line in ('75, static', 'in clips of 4 frames: 90', 'strategy 1: 10 patches visible, 6'):
        assert line in text


@pytest.mark.parametrize('name', ['baselines/videomae_demo', 'baselines/next-frame_demo'])
def test_other_algorithms_have_no_masks_of_ours(name):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    sums = run_sums(cfg, StageTable(cfg.train_cfg.stages))
    assert (sums.masks, sums.encoded, sums.predicted) == ([], 0, 0)
    assert sums.clips == 22_400
    assert not any('encoder' in part for part in describe(sums) if isinstance(part, str))
