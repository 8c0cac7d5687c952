import numpy as np
import pytest
import torch

from nextvid_mm.datasets import ClipRequest, LabelledDataset
from nextvid_mm.datasets.labelled import has_labels
from nextvid_mm.datasets.video_lists import ClipListDataset

PIPELINE = [
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', frame_interval=2, num_frames=4),
    dict(type='VideoDecode'),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]


@pytest.fixture
def folder(tmp_path, write_clip):
    """Three readable videos, a broken one between them, and their list."""
    for name in ('a', 'b', 'd'):
        write_clip(tmp_path / f'{name}.mp4')
    (tmp_path / 'c.mp4').write_bytes(b'no video')
    (tmp_path / 'list.txt').write_text('a.mp4 0\nb.mp4 1\nc.mp4 2\nd.mp4 0\n')
    return tmp_path


def make(folder, pipeline=PIPELINE, **settings):
    inner = dict(
        type='mmaction.VideoDataset',
        ann_file=str(folder / 'list.txt'),
        data_prefix=dict(video=str(folder)),
        pipeline=pipeline,
    )
    return LabelledDataset(inner, **settings)


def test_a_broken_video_is_kept_and_marked_in_test_mode(folder):
    sample = make(folder, test_mode=True)[2]
    info = sample['data_samples'].metainfo
    assert info['sample_idx'] == 2
    assert info['path'].endswith('c.mp4')
    assert info['failure'].startswith('ValueError: ')
    assert sample['data_samples'].gt_label.tolist() == [2]
    assert sample['inputs'].shape == make(folder)[0]['inputs'].shape
    assert not sample['inputs'].any()


def test_a_broken_video_is_replaced_in_training(folder):
    info = make(folder)[2]['data_samples'].metainfo
    ((path, _),) = info['replaced']
    assert path.endswith('c.mp4')
    assert not info['path'].endswith('c.mp4')
    assert 'failure' not in info


def test_what_is_random_follows_from_the_request(folder):
    dataset = make(folder)
    first, second = (dataset[ClipRequest(0, 0, 1, 0, seed)]['inputs'] for seed in (5, 6))
    np.random.seed(99)
    assert torch.equal(dataset[ClipRequest(0, 0, 1, 0, 5)]['inputs'], first)
    assert not torch.equal(first, second)


def test_labels_outside_the_classes_name_list_and_line(folder):
    make(folder).check_labels(3)
    with pytest.raises(
        ValueError, match=r'list\.txt, line 3: label 2 is none of .* 0 to 1 .*1 of 4'
    ):
        make(folder).check_labels(2)
    (folder / 'list.txt').write_text('a.mp4 0\nb.mp4\n')
    with pytest.raises(ValueError, match=r'list\.txt, line 2: label -1'):
        make(folder).check_labels(2)


@pytest.mark.parametrize('line', ['b.mp4 two', 'b c.mp4 1'])
def test_a_line_that_is_no_path_with_a_label_is_shown(folder, line):
    (folder / 'list.txt').write_text(f'a.mp4 0\n{line}\n')
    with pytest.raises(ValueError, match=rf"list\.txt, line 2: '{line}'.*ClipListDataset"):
        make(folder)


def test_a_list_below_data_root_is_blamed_for_its_lines_only(folder):
    inner = dict(
        type='mmaction.VideoDataset',
        ann_file='list.txt',
        data_root=str(folder),
        data_prefix=dict(video=''),
        pipeline=PIPELINE,
    )
    assert len(LabelledDataset(inner)) == 4
    (folder / 'list.txt').write_text('# clips\na.mp4 0\n')
    with pytest.raises(ValueError, match=r"list\.txt, line 1: '# clips'"):
        LabelledDataset(inner)
    listed = LabelledDataset(dict(inner, type='ClipListDataset'))
    assert [listed.label(n) for n in range(len(listed))] == [0]
    wrong = dict(inner, type='ClipListDataset', pipeline=[dict(type='SampleClipByTime')])
    with pytest.raises(ValueError, match='either fps or frame_interval'):
        LabelledDataset(wrong)


def test_true_frames_per_second_replace_the_step(folder):
    """Clips of 8 fps: every second frame at 4 fps, every frame at 8."""
    slow, fast = make(folder), make(folder, fps=8)
    request = ClipRequest(0, 0, 0, 0, 1)
    frames = [s[request]['inputs'][0, 0, :, 0, 0].int() for s in (slow, fast)]
    # Frame k is grey 4k, coded with some loss.
    assert (frames[0].diff() - 8).abs().max() <= 2
    assert (frames[1].diff() - 4).abs().max() <= 2


def test_fps_needs_the_sampler(folder):
    with pytest.raises(ValueError, match='fps=4 of LabelledDataset needs SampleClipByTime'):
        make(folder, pipeline=[dict(type='VideoInit')], fps=4)


def test_labels_of_long_lists_are_looked_up_at_once(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4\nb.mp4 2\n')
    settings = dict(data_prefix=dict(video='s3://bucket'), pipeline=[])
    dataset = ClipListDataset(str(tmp_path / 'list.txt'), **settings)
    dataset.get_data_info = None  # one by one
    assert has_labels(dataset)
    (tmp_path / 'none.txt').write_text('a.mp4\n')
    assert not has_labels(ClipListDataset(str(tmp_path / 'none.txt'), **settings))
