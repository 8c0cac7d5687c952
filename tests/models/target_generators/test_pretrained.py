import json

import pytest
import torch
from torch import nn

from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.target_generators.pretrained import (
    FramewiseTarget,
    PretrainedTarget,
    read_architecture,
    read_statistics,
    write_statistics,
)


class Doubled(PretrainedTarget):
    """Mean pixels of a patch column, scaled by a published weight."""

    channels = 3

    def rename(self, state):
        return {name.removeprefix('net.'): value for name, value in state.items()}

    def encode(self, clip):
        frames = clip.unflatten(2, (-1, 2)).mean((3, 4, 5))
        return self.run(self.network, frames.transpose(1, 2))[:, :, None]

    def decode(self, raw, grid):
        raise AssertionError('not needed here')


@pytest.fixture
def files(tmp_path):
    torch.save({'net.weight': 2 * torch.eye(3)}, tmp_path / 'net.pt')
    write_statistics(tmp_path / 's.pt', torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 4]))
    return tmp_path


def make(files, **settings):
    network = nn.Linear(3, 3, bias=False)
    settings = dict(patch_size=4, tubelet_size=2, dtype=None) | settings
    return Doubled(network, str(files / 'net.pt'), 3, **settings)


def test_weights_and_statistics_come_from_files(files):
    target = make(files, statistics=str(files / 's.pt'))
    target.init_weights()
    clean = target(torch.ones(1, 3, 4, 4, 4))
    torch.testing.assert_close(clean[0, 0, 0], (2 - torch.tensor([1.0, 2, 3])) / target.std)
    torch.testing.assert_close(target.denormalize(clean), torch.full((1, 1, 1, 3), 2.0))


def test_without_the_file_nothing_looks_like_a_target(files):
    target = make(files, statistics=str(files / 's.pt'))
    assert target(torch.ones(1, 3, 4, 4, 4)).isnan().all()


def test_statistics_of_a_file_travel_with_checkpoints(files):
    target = make(files, statistics=str(files / 's.pt'))
    target.init_weights()
    copy = make(files, statistics='gone.pt')
    copy.load_state_dict(target.state_dict())
    assert torch.equal(copy.std, target.std)


def test_it_is_frozen_and_stays_in_evaluation_mode(files):
    target = make(files).train()
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())
    assert not target(torch.ones(1, 3, 4, 4, 4, requires_grad=True)).requires_grad


def test_values_per_channel_must_be_as_many(files):
    with pytest.raises(ValueError, match='mean of Doubled has 2 values, but there are 3 latent'):
        make(files, mean=[0.0, 1.0], std=1.0)


@pytest.mark.parametrize('kind', [list, tuple])
def test_one_value_may_stand_beside_one_per_channel(files, kind):
    raw, each = torch.randn(1, 2, 4, 6), kind([2.0, 3.0, 4.0])
    for given in (dict(mean=1.0, std=each), dict(mean=each, std=1.5)):
        lists = {k: list(v) if v is each else [v] * 3 for k, v in given.items()}
        one, other = make(files, **given), make(files, **lists)
        assert torch.equal(one.normalize(raw), other.normalize(raw))
        torch.testing.assert_close(one.denormalize(one.normalize(raw)), raw)
    with pytest.raises(ValueError, match='std of Doubled must be positive'):
        make(files, mean=0.0, std=kind([1.0, 0.0, 1.0]))


def test_one_source_of_statistics(files):
    assert make(files, own=(2.0, 3.0)).std == 3
    given = make(files, own=(2.0, 3.0), mean=4.0, std=5.0)
    assert (given.mean, given.std) == (4, 5)
    with pytest.raises(ValueError, match=r"Doubled has both statistics='x.pt' and mean or std"):
        make(files, statistics='x.pt', mean=2.0)
    with pytest.raises(ValueError, match=r'mean=2.0 and std=None: give both or neither'):
        make(files, mean=2.0)


class Means(FramewiseTarget):
    """The mean colour of a frame; counts the frames it sees."""

    channels = 6

    def rename(self, state):
        return state

    def encode_frames(self, frames):
        self.seen.append(len(frames))
        return frames.mean((2, 3))[:, None]

    def decode(self, raw, grid):
        raise AssertionError('not needed here')


def make_framewise(**settings):
    target = Means(
        network=nn.Identity(), checkpoint='', latent_channels=3, patch_size=4, tubelet_size=2,
        **settings,
    )  # fmt: skip
    target.seen = []
    return target


def test_frames_of_a_tubelet_are_stacked_on_channels():
    clip = torch.rand(2, 3, 6, 4, 4)
    tokens = make_framewise().encode(clip)
    assert tokens.shape == (2, 3, 1, 6)
    torch.testing.assert_close(tokens[1, 2, 0, 3:], clip[1, :, 5].mean((1, 2)))


def test_a_static_clip_costs_one_frame():
    clip = torch.rand(3, 3, 8, 4, 4)
    static = torch.tensor([True, False, True])
    clip[static] = clip[static][:, :, :1].expand(-1, -1, 8, -1, -1)
    target = make_framewise()
    expected = target(clip)
    assert target.seen == [3 * 6]
    target.seen.clear()
    assert torch.equal(
        target(clip, ClipBatch.of([dict(static=bool(flag)) for flag in static])), expected
    )
    assert target.seen == [6, 2]


def test_passes_are_bounded_and_change_nothing():
    clip, bounded = torch.rand(1, 3, 6, 4, 4), make_framewise(frames_per_pass=4)
    assert torch.equal(bounded.encode(clip), make_framewise().encode(clip))
    assert bounded.seen == [4, 2]
    with pytest.raises(ValueError, match='Means.frames_per_pass=0 must be a whole number'):
        make_framewise(frames_per_pass=0)


MEAN, STD = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 1.0, 2.0])


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors', '.json'])
def test_every_kind_of_file_makes_the_round_trip(tmp_path, suffix):
    path = tmp_path / 'deep' / f'stats{suffix}'
    write_statistics(path, MEAN, STD)
    mean, std = read_statistics(path, 3)
    assert torch.equal(mean, MEAN)
    assert torch.equal(std, STD)


def test_the_layout_is_lightningdits(tmp_path):
    write_statistics(tmp_path / 'latents_stats.pt', MEAN, STD)
    stored = torch.load(tmp_path / 'latents_stats.pt', weights_only=True)
    assert {name: tuple(v.shape) for name, v in stored.items()} == dict(
        mean=(1, 3, 1, 1), std=(1, 3, 1, 1)
    )


@pytest.mark.parametrize(
    ('stored', 'message'),
    [
        (dict(mean=[0.0] * 3), r"has no \['std'\], only \['mean'\]"),
        (dict(mean=[0.0] * 3, std=[1.0] * 4), 'std has 4 channels, the network has 3'),
        (dict(mean=[0.0] * 3, std=[1.0, 0.0, 1.0]), 'std must be positive, found 0.0'),
    ],
)
def test_wrong_statistics_are_refused(tmp_path, stored, message):
    path = tmp_path / 'stats.json'
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=message):
        read_statistics(path, 3)


def test_absent_and_unknown_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'statistics=.*compute_latent_stats.py'):
        read_statistics(tmp_path / 'absent.pt', 3)
    with pytest.raises(ValueError, match=r'stats.npz must end in one of \.pt'):
        write_statistics(tmp_path / 'stats.npz', MEAN, STD)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_state_dict_is_taken_out_of_its_wrapper(files, wrapped):
    state = {'net.weight': torch.randn(3, 3)}
    torch.save(dict(state_dict=state) if wrapped else state, files / 'net.pt')
    target = make(files, mean=0.0, std=1.0)
    target.init_weights()
    assert torch.equal(target.network.weight, state['net.weight'])


def test_a_folder_describes_its_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder with a config.json.*`architecture`'):
        read_architecture(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(dict(width=3)))
    assert read_architecture(tmp_path) == dict(width=3)


def test_a_missing_file_names_key_and_page(files):
    (files / 'net.pt').unlink()
    message = r'target_generator.checkpoint=.*net.pt.: there is no such checkpoint; docs/targets.md'
    with pytest.raises(FileNotFoundError, match=message):
        make(files).init_weights()
