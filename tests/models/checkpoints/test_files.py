import argparse

import pytest
import torch
from safetensors.torch import save_file

from nextvid_mm.models.checkpoints import read_file

WEIGHTS = dict(w=torch.arange(3.0))


def test_both_kinds_of_file_and_the_arguments_of_training_scripts(tmp_path):
    save_file(WEIGHTS, tmp_path / 'a.safetensors')
    torch.save(dict(model=WEIGHTS, args=argparse.Namespace(lr=1.0)), tmp_path / 'a.pth')
    torch.save(WEIGHTS, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    for name in ('a.safetensors', 'old.pth'):
        assert torch.equal(read_file(tmp_path / name)['w'], WEIGHTS['w'])
    content = read_file(tmp_path / 'a.pth')
    assert torch.equal(content['model']['w'], WEIGHTS['w'])
    assert content['args'].lr == 1


def test_a_published_folder_is_read_by_its_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no such checkpoint \(no diffusion_pytorch_model'):
        read_file(tmp_path)
    save_file(WEIGHTS, tmp_path / 'model.safetensors')
    assert torch.equal(read_file(tmp_path)['w'], WEIGHTS['w'])


class Payload:
    def __reduce__(self):
        return (print, ('code of the file was run',))


@pytest.mark.parametrize('content', ['code', 'garbage', 'list', 'damaged'])
def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path, content, capsys):
    path = tmp_path / ('bad.safetensors' if content == 'damaged' else 'bad.pth')
    if content in ('garbage', 'damaged'):
        path.write_bytes(b'not a checkpoint at all')
    else:
        torch.save(dict(model=Payload()) if content == 'code' else [1, 2], path)
    with pytest.raises(
        ValueError,
        match=r'bad.\w+ (is no file of w|is damaged|holds a list|holds an object of print)',
    ):
        read_file(path)
    assert 'was run' not in capsys.readouterr().out


def test_a_missing_file_is_named_with_key_and_advice(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'^\S*absent.pth: there is no such checkpoint$'):
        read_file(tmp_path / 'absent.pth')
    with pytest.raises(FileNotFoundError, match=r"^a.key='absent.pth': there .*; find it$"):
        read_file('absent.pth', 'a.key', 'find it')
