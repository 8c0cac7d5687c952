"""tools/pack_shards.py: packs, verifies and indexes."""

import tarfile

from clips import write_clip


def test_a_folder_is_packed_verified_and_indexed(call, tmp_path, capsys):
    (tmp_path / 'videos').mkdir()
    for number in range(3):
        write_clip(tmp_path / f'videos/{number}.mp4')
    packed = tmp_path / 'packed'
    call('pack_shards', tmp_path / 'videos', packed, '--per-shard', 2, '--workers', 0)
    assert '3 clips in 2 tar files' in capsys.readouterr().out
    call('pack_shards', packed, '--verify')
    assert 'every clip is as its table says' in capsys.readouterr().out
    out = tmp_path / 'other.csv'
    call('pack_shards', '--index', packed / 'shard-000000.tar', '--out', out)
    assert len(out.read_text().splitlines()) == 3


def test_mistakes_are_one_line(call, tmp_path):
    assert 'give SOURCE and OUT_FOLDER' in call('pack_shards')
    assert 'absent: no such list or folder' in call('pack_shards', 'absent', tmp_path / 'out')
    with tarfile.open(tmp_path / 'a.tar', 'w:gz'):
        pass
    message = call('pack_shards', '--index', tmp_path / 'a.tar', '--out', tmp_path / 'a.csv')
    assert 'a.tar is compressed (gzip): unpack it' in message
