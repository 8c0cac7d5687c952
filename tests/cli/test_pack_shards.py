"""tools/pack_shards.py: packs, verifies and indexes."""

import tarfile

from clips import write_clip

from nextvid_mm.datasets.list_index import open_list


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


def test_blank_lines_are_no_classes(call, tmp_path):
    clip = tmp_path / 'a.mp4'
    write_clip(clip)
    (tmp_path / 'a.cls').write_text('dog')
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name in ('a.mp4', 'a.cls'):
            tar.add(tmp_path / name, name)
    (tmp_path / 'classes.txt').write_text('\ncat\n\n dog \n')
    out = tmp_path / 'a.csv'
    words = ('--index', tmp_path / 'a.tar', '--out', out, '--classes', tmp_path / 'classes.txt')
    assert call('pack_shards', *words) == 0
    assert open_list(out)[0]['label'] == 1


def test_mistakes_are_one_line(call, tmp_path):
    assert 'give SOURCE and OUT_FOLDER' in call('pack_shards')
    assert '--per-shard=0 must be' in call('pack_shards', 'a', 'b', '--per-shard', 0)
    assert '--label-key is for --index' in call('pack_shards', 'a', 'b', '--label-key', 'x')
    assert 'nothing else, found a' in call('pack_shards', 'a', 'b', '--index', 'c.tar')
    assert 'one folder, found b, too' in call('pack_shards', 'a', 'b', '--verify')
    assert 'absent: no such list or folder' in call('pack_shards', 'absent', tmp_path / 'out')
    write_clip(tmp_path / 'a.mp4')
    (tmp_path / 'list.txt').write_text('a.mp4\n')
    message = call('pack_shards', 'list.txt', 'out', '--quality', 35)
    assert 'quality=35 (--quality) changes nothing' in message
    with tarfile.open(tmp_path / 'a.tar', 'w:gz'):
        pass
    message = call('pack_shards', '--index', tmp_path / 'a.tar', '--out', tmp_path / 'a.csv')
    assert 'a.tar is compressed (gzip): unpack it' in message
