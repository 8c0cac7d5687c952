import argparse

import pytest
import torch
from safetensors.torch import save_file

from nextvid_mm.interop.files import read_file, unwrap


def test_both_kinds_of_file_and_the_arguments_of_training_scripts(tmp_path):
    weights = dict(w=torch.arange(3.0))
    save_file(weights, tmp_path / 'a.safetensors')
    torch.save(dict(model=weights, args=argparse.Namespace(lr=1.0)), tmp_path / 'a.pth')
    assert torch.equal(read_file(tmp_path / 'a.safetensors')['w'], weights['w'])
    content = read_file(tmp_path / 'a.pth')
    assert torch.equal(unwrap(content, ('module', 'model'))['w'], weights['w'])
    assert unwrap(weights, ('module', 'model')) is weights


class Payload:
    def __reduce__(self):
        return (print, ('code of the file was run',))


@pytest.mark.parametrize('content', ['code', 'garbage', 'list'])
def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path, content, capsys):
    path = tmp_path / 'bad.pth'
    if content == 'garbage':
        path.write_bytes(b'not a checkpoint at all')
    else:
        torch.save(dict(model=Payload()) if content == 'code' else [1, 2], path)
    with pytest.raises(ValueError, match=r'bad.pth (is no checkpoint|holds a list)'):
        read_file(path)
    assert 'was run' not in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        read_file(tmp_path / 'absent.pth')
