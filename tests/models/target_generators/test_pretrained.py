import pytest
import torch
from torch import nn

from nextvid_mm.models.target_generators.pretrained import PretrainedTarget, chosen_statistics
from nextvid_mm.models.target_generators.statistics import write_statistics


class Doubled(PretrainedTarget):
    """Mean pixels of a patch column, scaled by a published weight."""

    channels = 3

    def rename(self, state):
        return {name.removeprefix('net.'): value for name, value in state.items()}

    def encode(self, clip):
        frames = clip.unflatten(2, (-1, 2)).mean((3, 4, 5))
        return self.network(frames.transpose(1, 2))[:, :, None]

    def decode(self, raw, grid):
        raise AssertionError('not needed here')


@pytest.fixture
def files(tmp_path):
    torch.save({'net.weight': 2 * torch.eye(3)}, tmp_path / 'net.pt')
    write_statistics(tmp_path / 's.pt', torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 4]))
    return tmp_path


def make(files, **settings):
    network = nn.Linear(3, 3, bias=False)
    return Doubled(network, str(files / 'net.pt'), 3, patch_size=4, tubelet_size=2, **settings)


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
        make(files, mean=[0.0, 1.0])


def test_one_source_of_statistics():
    assert chosen_statistics((None, None), 'x.pt', (0.0, 1.0), 'T') == (0.0, 1.0)
    assert chosen_statistics((2.0, 3.0), None, (0.0, 1.0), 'T') == (2.0, 3.0)
    with pytest.raises(ValueError, match="T has both statistics='x.pt' and mean or std"):
        chosen_statistics((2.0, None), 'x.pt', (0.0, 1.0), 'T')
    with pytest.raises(ValueError, match='mean=2.0 and std=None: give both or neither'):
        chosen_statistics((2.0, None), None, (0.0, 1.0), 'T')
