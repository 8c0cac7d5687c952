from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from mmengine.config import Config
from PIL import Image

from nextvid_mm.cli import main
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.packing import pack
from nextvid_mm.visualization.browse import replaced_files, training_clips, write_pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path, global_state):
    """The demo's masks on three clips and one file that is none."""
    (tmp_path / 'clips').mkdir()
    for number in range(3):
        write_clip(tmp_path / 'clips' / f'{number}.mp4', num_frames=40)
    (tmp_path / 'clips' / 'text.mp4').write_text('no video')
    demo = Config.fromfile(ROOT / 'configs/nextvid/vit-tiny_demo.py')
    steps = [
        dict(type='VideoInit'),
        dict(type='SampleClipByTime', fps=8),
        dict(type='VideoDecode'),
        dict(type='mmaction.Resize', scale=(64, 64), keep_ratio=False),
    ]
    folder = dict(type='VideoFolder', folder=str(tmp_path / 'clips'), pipeline=steps)
    demo.train_dataloader.dataset.sources = [dict(name='mine', weight=1.0, dataset=folder)]
    demo.work_dir = str(tmp_path / 'work')  # as a run writes it
    path = tmp_path / 'mine.py'
    demo.dump(path)
    return path


def run_tool(*arguments):
    main('browse_dataset', [str(part) for part in arguments])


def test_clips_come_with_masks_file_times_and_source(config, tmp_path, capsys):
    run_tool(config, '-n', 8, '--html', '-o', tmp_path / 'out')
    said = capsys.readouterr().out
    assert '0: mine, ' in said
    assert ' s\n' in said
    assert 'in place of' in said
    assert 'text.mp4' in said
    with Image.open(tmp_path / 'out' / 'mine.png') as sheet:
        assert sheet.size[1] > 8 * 64
    page = (tmp_path / 'out' / 'mine.html').read_text()
    assert page.count('<img') == 8
    (clip,) = training_clips(Config.fromfile(config), 1)
    names = [name for name, _ in clip.strips]
    assert names[0] == 'as the model gets it'
    assert len(names) == 3, 'the demo has two masks'
    plain, masked = clip.strips[0][1], clip.strips[1][1]
    assert (plain != masked).any()


def test_without_masks_everything_is_visible(config):
    demo = Config.fromfile(config)
    demo.train_dataloader.dataset.pipeline[1].strategies = 'none'
    (clip,) = training_clips(demo, 1)
    (_, plain), (title, masked) = clip.strips
    assert title == 'mask 0: 16 patches visible'
    assert (plain == masked).all()


def test_replaced_files_are_shown_as_far_as_they_can_be_read(tmp_path):
    good = write_clip(tmp_path / '#a.mp4')
    listed = tmp_path / 'replaced_samples.rank0.txt'
    listed.write_text(f'{good}\ttimeout: too slow\n{tmp_path}/gone.mp4\tFileNotFoundError: none\n')
    first, second = replaced_files(listed, 9)
    assert first.title.endswith('#a.mp4: timeout: too slow')
    assert first.strips[0][1].shape[1] == 8
    assert 'gone.mp4: FileNotFoundError: none; now: ' in second.title
    levels = second.strips[0][1].mean((0, 2, 3))
    assert levels.round().tolist() == [0] + [1] * 7, 'grey, and room for the reason'
    (sheet,) = write_pages([first, second], tmp_path / 'new' / 'a')
    assert np.asarray(Image.open(sheet)).ndim == 3


def test_parts_of_videos_and_files_in_tar_files_are_shown(tmp_path):
    good = write_clip(tmp_path / 'a.mp4', num_frames=40)
    (packed,) = pack([ListedClip(good)], tmp_path, workers=0)
    listed = tmp_path / 'replaced_samples.txt'
    names = [f'{good}#t=1,2', f'{packed.shard}::000000-00000.mp4', f'{packed.shard}::gone.mp4']
    listed.write_text(''.join(f'{name}\ttimeout\n' for name in names))
    part, member, gone = replaced_files(listed, 9)
    levels = ((part.strips[0][1].mean((0, 2, 3)) + 1) * 127.5 / 4).round().tolist()
    assert levels == list(range(8, 16))
    assert member.strips[0][1].shape[1] == 8
    assert 'holds no gone.mp4' in gone.title
