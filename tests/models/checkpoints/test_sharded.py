"""Sharded checkpoints: read as whole ones, made whole, and nothing in them is run."""

import pickle

import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter, save
from toy_training import train

from nextvid_mm.interop import convert
from nextvid_mm.models.checkpoints import find_file, read_file
from nextvid_mm.models.checkpoints.sharded import (
    RUN,
    TensorReader,
    fill,
    folder_damage,
    is_sharded,
    outline,
    read_run,
    take_apart,
)

STATE = dict(
    state={0: dict(step=torch.tensor(3.0), exp_avg=torch.randn(2, 3)), 1: dict(step=7)},
    param_groups=[dict(lr=0.1, params=[0])],
)
WEIGHTS = {'backbone.weight': torch.randn(2, 3), 'half': torch.randn(4).bfloat16()}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two tensors."""
    path = tmp_path / 'iter_3.dcp'
    writer = FileSystemWriter(path)
    tensors, rest = take_apart(WEIGHTS, STATE)
    save(tensors, storage_writer=writer, no_dist=True)
    torch.save(dict(meta=dict(iter=3), optimizer=rest), path / RUN)
    return path


def test_it_is_read_as_a_whole_one(folder):
    assert is_sharded(folder)
    assert find_file(folder) == folder
    found = read_file(folder)
    assert found['meta'] == dict(iter=3)
    for name, value in WEIGHTS.items():
        assert torch.equal(found['state_dict'][name], value)
    assert found['optimizer']['param_groups'] == STATE['param_groups']
    assert found['optimizer']['state'][1] == dict(step=7)  # no tensor
    for key, value in STATE['state'][0].items():
        assert torch.equal(found['optimizer']['state'][0][key], value)
    assert all(tensor.is_meta for tensor in outline(folder).values())


def test_some_tensors_can_be_filled_alone(folder):
    tensors = {'state_dict.backbone.weight': torch.zeros(2, 3)}
    fill(folder, tensors)
    assert torch.equal(tensors['state_dict.backbone.weight'], WEIGHTS['backbone.weight'])


def test_one_command_makes_a_file_that_resumes(tmp_path):
    options = {'default_hooks.checkpoint.interval': 8}
    train(tmp_path / 'a', **options, **{'default_hooks.checkpoint.asynchronous': True})
    whole = tmp_path / 'iter_8.pth'
    assert convert('sharded', 'nextvid', tmp_path / 'a/iter_8.dcp', whole) == [f'wrote {whole}']
    other = train(tmp_path / 'b', resume=True, load_from=str(whole), **options)
    for name, value in read_file(tmp_path / 'a/iter_16.dcp')['state_dict'].items():
        assert torch.equal(other.model.state_dict()[name], value), name


def test_mistakes_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r'is no sharded checkpoint \(a folder iter_N\.dcp\)'):
        convert('sharded', 'nextvid', tmp_path / 'a.pth', tmp_path / 'b.pth')
    with pytest.raises(ValueError, match='--from sharded takes no --model'):
        convert('sharded', 'nextvid', folder, tmp_path / 'b.pth', model='vit')
    with pytest.raises(ValueError, match='name of the model is none'):
        take_apart(dict(name='text'), None)
    (folder / RUN).unlink()
    with pytest.raises(FileNotFoundError, match=r'no complete checkpoint \(no run\.pth in it\)'):
        read_run(folder)


class Evil:
    def __reduce__(self):
        return print, ('code of the file was run',)


def test_nothing_is_run(folder, capfd):
    (folder / '.metadata').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r'damaged \(it names builtins\.print'):
        read_file(folder)
    assert 'was run' not in capfd.readouterr().out
    assert 'builtins.print' in folder_damage(folder)


def test_more_than_tensors_is_refused(tmp_path):
    path = tmp_path / 'iter_1.dcp'
    save(dict(a=Evil(), b=torch.zeros(1)), storage_writer=FileSystemWriter(path), no_dist=True)
    with pytest.raises(ValueError, match='damaged'):
        outline(path)


def rewrite(folder, change):
    file = folder / '.metadata'
    metadata = TensorReader(folder).read_metadata()
    change(metadata)
    file.write_bytes(pickle.dumps(metadata))


def test_claims_beyond_the_files_are_refused(folder):
    def enlarge(metadata):
        metadata.state_dict_metadata['state_dict.half'].size = torch.Size([10**12])

    rewrite(folder, enlarge)
    with pytest.raises(ValueError, match=r'its tensors claim 2,000,000,000,0\d\d bytes'):
        read_file(folder)


def test_pieces_outside_of_the_folder_are_refused(folder):
    def lead_out(metadata):
        next(iter(metadata.storage_data.values())).relative_path = '../other'

    rewrite(folder, lead_out)
    with pytest.raises(ValueError, match='leads out of its folder'):
        read_file(folder)


def test_a_flipped_bit_is_seen(folder):
    assert folder_damage(folder) is None
    values = WEIGHTS['backbone.weight'].numpy().tobytes()
    for name, inside in (('__0_0.distcp', values), (RUN, b'param_groups')):
        content = bytearray((folder / name).read_bytes())
        place = content.index(inside)
        content[place] ^= 1
        (folder / name).write_bytes(content)
        assert folder_damage(folder) is not None
        content[place] ^= 1
        (folder / name).write_bytes(content)
    assert folder_damage(folder) is None
    (folder / '__0_0.distcp').write_bytes(b'')
    assert folder_damage(folder) is not None
