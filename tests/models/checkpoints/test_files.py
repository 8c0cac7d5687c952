import argparse
import json
import pathlib
import pickle
import resource
import struct

import pytest
import torch
from hostile import MAKERS, hostile_files
from safetensors.torch import save_file

from nextvid_mm.models.checkpoints import open_encoder, read_file

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


def test_two_hundred_damaged_and_hostile_files(tmp_path):
    """Each is refused with its name in one line; nothing is run, nothing large allocated."""
    kinds = set()
    for kind, path, marker in hostile_files(tmp_path, seed=0, count=200):
        kinds.add(kind)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            open_encoder(path)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert str(path) in str(error.value), kind
        assert '\n' not in str(error.value), kind
        assert not marker.exists(), kind
        assert grown < 2**28, f'{kind}: {grown:,} bytes for {path}'
    assert kinds == {*MAKERS, 'shards'}


@pytest.mark.parametrize(
    ('start', 'message'),
    [
        (b'', r'is empty \(0 bytes\): download'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer.*git lfs pull'),
        (b'<!DOCTYPE html>', 'a page of HTML or XML.*download it again'),
        (b'\x1f\x8b\x08', 'a gzip archive, unpack|a gzip archive: unpack it first'),
        (b'hello', r'no file of weights \(neither torch.save nor safetensors\)'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.bin'])
def test_what_a_file_is_instead(tmp_path, start, message, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(start)
    if start == b'hello' and suffix == '.safetensors':
        message = 'its header claims'
    with pytest.raises(ValueError, match=message):
        read_file(path)


def test_the_class_of_another_project_is_named(tmp_path):
    torch.save(dict(model=pathlib.PurePosixPath('x')), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'an object of pathlib.PurePosixPath, a class of another'):
        read_file(tmp_path / 'a.pth')
    for protocol in (2, 4, 5):
        for content, named in (
            (1, ''),
            (pathlib.PurePosixPath('x'), r' with .* pathlib.PurePos\w*'),
        ):
            (tmp_path / 'b.pkl').write_bytes(pickle.dumps(dict(a='b', c=content), protocol))
            with pytest.raises(ValueError, match=rf'is a pickle{named}, but none of torch.save'):
                read_file(tmp_path / 'b.pkl')
    (tmp_path / 'b.pkl').write_bytes(pickle.dumps(pathlib.PurePosixPath('x'))[:-20])
    with pytest.raises(ValueError, match=r'is a pickle, but none of torch.save'):
        read_file(tmp_path / 'b.pkl')


def test_a_list_of_tensors_that_fills_the_file_is_not_read(tmp_path):
    """In memory it would take many times the file."""
    entry = b'PK\x01\x02' + struct.pack('<6H3I5H2I', *[0] * 9, 1, *[0] * 6) + b'a'
    local, entries = b'PK\x03\x04' + bytes(26), entry * 100_000
    end = struct.pack('<4H2IH', 0, 0, 65535, 65535, len(entries), len(local), 0)
    (tmp_path / 'a.pth').write_bytes(local + entries + b'PK\x05\x06' + end)
    with pytest.raises(ValueError, match=r'a.pth is .* \(its list of parts is too long for 4,700'):
        read_file(tmp_path / 'a.pth')
    tensors = {f'{n}': dict(dtype='F32', shape=[0], data_offsets=[0, 0]) for n in range(90_000)}
    header = json.dumps(tensors).encode()
    (tmp_path / 'a.safetensors').write_bytes(struct.pack('<Q', len(header)) + header)
    with pytest.raises(ValueError, match=r'a.safetensors is damaged: its header claims 5,\d+,\d+'):
        read_file(tmp_path / 'a.safetensors')


@pytest.mark.skipif(not pathlib.Path('/proc/self/statm').exists(), reason='Linux says its memory')
@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_a_large_file_takes_no_memory_until_its_tensors_are_used(tmp_path, name):
    path, size = tmp_path / name, 2**25
    (save_file if name.endswith('s') else torch.save)(dict(w=torch.ones(size // 4)), path)

    def resident():
        return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()

    before = resident()
    content = read_file(path)
    assert resident() - before < size / 4
    assert content['w'][-1] == 1


def test_an_index_stays_in_its_folder_but_for_the_hubs_cache(tmp_path):
    folder, blobs = tmp_path / 'snapshots' / 'abc', tmp_path / 'blobs'
    folder.mkdir(parents=True)
    blobs.mkdir()
    save_file(WEIGHTS, blobs / '123')
    (folder / 'one.safetensors').symlink_to(blobs / '123')
    index = folder / 'model.safetensors.index.json'
    index.write_text('{"weight_map": {"w": "one.safetensors"}}')
    assert torch.equal(read_file(folder)['w'], WEIGHTS['w'])
    assert torch.equal(read_file(index)['w'], WEIGHTS['w'])
    index.write_text('{"weight_map": {"w": "two.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r'names two.safetensors, which is not in its fol'):
        read_file(folder)
    index.write_text('{"weight_map": {"w": "../../blobs/123"}}')
    with pytest.raises(ValueError, match=r'leads out of its folder; it is not opened'):
        read_file(folder)
