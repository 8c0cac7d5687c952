import json

import pytest
import torch

from nextvid_mm.models.target_generators.statistics import read_statistics, write_statistics

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
