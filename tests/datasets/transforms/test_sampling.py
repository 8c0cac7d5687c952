from fractions import Fraction

import numpy as np
import pytest

from nextvid_mm.datasets.transforms.decode import VideoDecode, VideoInit
from nextvid_mm.datasets.transforms.sampling import BeforeAction, SampleClipByTime

NTSC = Fraction(30000, 1001)


def video(total=300, rate=30.0, **extra):
    return dict(total_frames=total, avg_fps=float(rate), filename='a.mp4', **extra)


def sample(results, seed=0, **arguments):
    np.random.seed(seed)
    return SampleClipByTime(**arguments)(results)['frame_inds']


@pytest.mark.parametrize('rate', [NTSC, Fraction(24), Fraction(25), Fraction(30), Fraction(60)])
@pytest.mark.parametrize('num_frames', [16, 64])
def test_spacing_is_exact_at_any_frame_rate(rate, num_frames):
    times = np.arange(1200) / float(rate)
    for seed in range(20):
        frames = sample(video(1200, rate), seed, fps=4, num_frames=num_frames)
        off = times[frames] - times[frames[0]] - np.arange(num_frames) / 4
        assert np.abs(off).max() <= 0.5 / float(rate) + 1e-3
        gaps = np.diff(frames)
        assert gaps.max() - gaps.min() <= 1


def test_gaps_at_24_and_30_fps():
    assert set(np.diff(sample(video(400, 24), fps=4, num_frames=16))) == {6}
    gaps = np.diff(sample(video(400, 30), fps=4, num_frames=16))
    # 7.5 frames: the two gaps alternate, and rounding noise must not break the pattern.
    assert set(gaps) == {7, 8}
    assert (gaps[:-1] != gaps[1:]).all()


def test_times_are_even_and_begin_at_a_frame():
    for seed in range(20):
        np.random.seed(seed)
        results = SampleClipByTime(fps=4, num_frames=16)(video(300, NTSC))
        times = results['frame_times']
        assert np.diff(times) == pytest.approx(np.full(15, 0.25))
        assert times[0] * float(NTSC) == pytest.approx(round(times[0] * float(NTSC)), abs=1e-6)
        assert times[-1] <= 300 / float(NTSC)


@pytest.mark.parametrize(
    ('rate', 'variable'), [(NTSC, False), (Fraction(24), False), (Fraction(30), True)]
)
def test_on_real_files(tmp_path, write_clip, rate, variable):
    gaps = np.random.default_rng(1).integers(10, 60, 150) if variable else None
    times = np.cumsum(gaps) if variable else None
    path = write_clip(tmp_path / 'a.mp4', num_frames=150, rate=rate, times=times)
    np.random.seed(0)
    results = SampleClipByTime(fps=4)(VideoInit()(dict(filename=path, num_frames=12)))
    wanted = results['frame_times'].copy()
    results = VideoDecode()(results)
    seconds = (times - times[0]) / 1000 if variable else np.arange(150) / float(rate)
    # Frame k of these files is grey level 4·(k mod 60).
    levels = np.array([frame.mean() / 4 for frame in results['imgs']])
    frames = np.abs(seconds[None] - results['frame_times'][:, None]).argmin(1)
    assert levels == pytest.approx(frames % 60, abs=1)
    nearest = np.abs(seconds[None] - wanted[:, None]).min(1)
    assert np.abs(results['frame_times'] - wanted) == pytest.approx(nearest, abs=2e-3)


def test_short_clips_repeat_the_last_frame():
    frames = sample(video(20, 8), fps=4, num_frames=16)
    assert frames.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18] + [19] * 6
    assert sample(video(1), fps=4, num_frames=4).tolist() == [0] * 4
    assert sample(video(total=3), frame_interval=2, num_frames=4).tolist() == [0, 2, 2, 2]


def test_files_slower_than_the_clip_repeat_frames():
    assert sample(video(8, 2), fps=4, num_frames=8, test_mode=True).tolist() == [
        *(1, 2, 2, 3, 3, 4, 4, 5)
    ]


def test_training_starts_are_spread_over_all_that_leave_room():
    starts = [
        sample(video(total=24), seed, frame_interval=1, num_frames=16)[0] for seed in range(300)
    ]
    assert set(starts) == set(range(9))
    starts = [sample(video(24, 8), seed, fps=4, num_frames=8)[0] for seed in range(300)]
    assert set(starts) == set(range(10))


def test_training_segments_come_from_their_own_parts():
    for seed in range(50):
        frames = sample(video(total=100), seed, frame_interval=1, num_frames=10, num_clips=3)
        starts = frames.reshape(3, 10)[:, 0]
        assert 0 <= starts[0] < 30 <= starts[1] < 60 <= starts[2] <= 90


def test_test_segments_are_fixed_and_reach_both_ends():
    arguments = dict(frame_interval=4, num_frames=16, test_mode=True)
    frames = sample(video(total=300), seed=1, num_clips=8, **arguments).reshape(8, 16)
    assert (
        frames == sample(video(total=300), seed=2, num_clips=8, **arguments).reshape(8, 16)
    ).all()
    assert frames[0, 0] == 0
    assert frames[-1, -1] == 299
    assert np.ptp(np.diff(frames[:, 0])) <= 1
    centre = sample(video(total=301), **arguments)
    assert centre[0] == 300 - centre[-1]


def test_results_are_what_the_decoders_expect():
    results = SampleClipByTime(fps=4, num_clips=2)(video(300, 30, num_frames=16))
    assert results['frame_inds'].shape == (32,)
    assert results['frame_inds'].dtype.kind == 'i'
    assert (results['clip_len'], results['num_clips'], results['frame_interval']) == (16, 2, 8)


def test_start_index_of_frame_folders_is_added():
    frames = sample(video(total=8, start_index=1), frame_interval=1, num_frames=8)
    assert frames.tolist() == list(range(1, 9))


def test_own_number_of_frames_wins():
    assert sample(video(num_frames=64), frame_interval=1, num_frames=4).shape == (4,)


@pytest.mark.parametrize(
    'arguments', [{}, dict(fps=4, frame_interval=2), dict(fps=0), dict(fps=4, num_clips=0)]
)
def test_refuses_bad_configs(arguments):
    with pytest.raises(ValueError, match='SampleClipByTime'):
        SampleClipByTime(**arguments)


def test_refuses_videos_it_cannot_time():
    with pytest.raises(ValueError, match=r'a\.mp4 tells no frame rate'):
        sample(video(rate=0), fps=4, num_frames=4)
    with pytest.raises(ValueError, match='has no frames'):
        sample(video(total=0), fps=4, num_frames=4)
    with pytest.raises(ValueError, match='set num_frames'):
        sample(video(), fps=4)


def test_clips_of_a_part_stay_inside_it():
    """Frames of seconds 2 to 5 alone, also where the part is shorter than the clip."""
    for seed in range(20):
        results = video(300, 30, segment=(2.0, 5.0))
        frames = sample(results, seed, fps=4, num_frames=8)
        assert frames.min() >= 60
        assert frames.max() < 150
        times = results['frame_times']
        assert times.min() >= 2.0
        assert times.max() < 5.0
    short = sample(video(300, 30, segment=(2.0, 3.0)), fps=4, num_frames=16)
    assert short[0] == 60
    assert short[-1] == 89
    assert (np.diff(short) >= 0).all()
    spread = sample(
        video(300, 30, segment=(1.0, None)),
        frame_interval=1,
        num_frames=2,
        num_clips=3,
        test_mode=True,
    )
    assert spread.tolist() == [30, 31, 164, 165, 298, 299]


def test_a_part_behind_the_end_is_an_error():
    with pytest.raises(
        ValueError, match=r'a.mp4: its part begins at 10 s, the video ends at 10.00 s'
    ):
        sample(video(300, 30, segment=(10.0, 12.0)), fps=4, num_frames=8)
    for end in (99.0, float('inf')):
        whole = sample(video(300, 30, segment=(9.9, end)), fps=4, num_frames=8)
        assert whole.tolist() == [297] + [299] * 7


def test_the_past_of_an_action_is_all_before_it():
    for rate in (NTSC, 8.0, 30.0):
        results = BeforeAction(2.0)(video(300, rate, segment=(5.0, None)))
        assert results['segment'] == (3.0, 5.0)
        times = SampleClipByTime(fps=4, num_frames=8, test_mode=True)(results)['frame_times']
        # Frame k is no later than the middle of its quarter of a second.
        assert (times <= 3.0 + np.arange(8) / 4 + 0.125 + 1e-6).all()
        assert times[-1] < 5.0


@pytest.mark.parametrize(
    ('segment', 'message'),
    [
        ((1.5, None), r'begins at 1.5 s, 2 s before it are needed'),
        (None, r'no second at which its action begins \(column start\)'),
    ],
)
def test_too_little_past(segment, message):
    with pytest.raises(ValueError, match=message):
        BeforeAction(2)(video(segment=segment))
    with pytest.raises(ValueError, match='seconds=0 must be larger'):
        BeforeAction(0)
