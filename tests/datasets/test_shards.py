import json

import pytest
import torch

from nextvid_mm.datasets.shards import ShardReader, ShardWriter

SETTINGS = dict(a=1)


def shards(folder):
    return json.loads((folder / 'index.json').read_text())['shards']


def test_a_shard_is_written_at_its_number_of_entries_or_bytes(tmp_path):
    with ShardWriter(tmp_path / 'count', SETTINGS, shard_size=2) as writer:
        for name in 'abc':
            writer.add(name, torch.zeros(1))
    assert list(shards(tmp_path / 'count').values()) == [['a', 'b'], ['c']]
    with ShardWriter(tmp_path / 'bytes', SETTINGS, shard_bytes=8) as writer:
        writer.add('small', torch.zeros(1))
        writer.add('large', torch.zeros(2))
        writer.add('rest', torch.zeros(1))
    assert list(shards(tmp_path / 'bytes').values()) == [['small', 'large'], ['rest']]


def test_what_belongs_together_is_never_apart(tmp_path):
    writer = ShardWriter(tmp_path, SETTINGS, shard_size=3).__enter__()
    for name in 'abc':
        writer.add_together({name: torch.zeros(1), name * 2: torch.ones(1)})
    assert list(shards(tmp_path).values()) == [['a', 'aa', 'b', 'bb']]  # killed here
    assert 'c' in writer
    assert 'c' not in ShardWriter(tmp_path, SETTINGS)


def test_notes_are_kept_even_where_no_entry_was_added(tmp_path):
    with ShardWriter(tmp_path, SETTINGS) as writer:
        writer.notes['failed'] = dict(x='broken')
    assert ShardReader(tmp_path).notes == dict(failed=dict(x='broken'))
    assert ShardWriter(tmp_path, SETTINGS).notes == dict(failed=dict(x='broken'))


def test_entries_are_copies_of_what_was_given(tmp_path):
    tensor = torch.zeros(4, 2)
    with ShardWriter(tmp_path, SETTINGS) as writer:
        writer.add('a', tensor.t())
        tensor.fill_(1)
    assert not ShardReader(tmp_path).read('a').any()
    assert ShardReader(tmp_path).read('a').shape == (2, 4)


def test_other_settings_are_named(tmp_path):
    ShardWriter(tmp_path, SETTINGS).__enter__()
    with pytest.raises(ValueError, match=r'a: 1 -> 2'):
        ShardWriter(tmp_path, dict(a=2))
