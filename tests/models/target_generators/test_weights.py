import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nextvid_mm.models.target_generators.weights import (
    read_architecture,
    read_weights,
)


@pytest.mark.parametrize('wrapped', [False, True])
def test_state_dicts_are_read_from_either_kind_of_file(tmp_path, wrapped):
    state = {'weight': torch.randn(2, 3)}
    torch.save(dict(state_dict=state) if wrapped else state, tmp_path / 'a.pt')
    save_file(state, tmp_path / 'a.safetensors')
    for name in ('a.pt', 'a.safetensors'):
        assert torch.equal(read_weights(tmp_path / name)['weight'], state['weight'])


def test_a_folder_has_weights_and_a_description(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'is missing \(no diffusion_pytorch_model'):
        read_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no folder with a config.json.*`architecture`'):
        read_architecture(tmp_path)
    save_file({'weight': torch.ones(1)}, tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(dict(width=3)))
    assert read_weights(tmp_path)['weight'] == 1
    assert read_architecture(tmp_path) == dict(width=3)


def test_a_missing_file_names_key_and_page():
    with pytest.raises(FileNotFoundError, match=r'checkpoint=.absent.pt. is missing: docs/targ'):
        read_weights('absent.pt')


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save(dict(state_dict=nn.Linear(1, 1)), tmp_path / 'a.pt')
    with pytest.raises(Exception, match='[Ww]eights.only'):
        read_weights(tmp_path / 'a.pt')
