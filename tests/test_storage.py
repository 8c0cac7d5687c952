"""Files behind addresses: read in parts, again after a fault, shown without what gives access."""

import io
import os
import signal
import time

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from range_server import serve

from nextvid_mm.datasets.video.decoder import interrupt, interruptible
from nextvid_mm.files import ReadTimeoutError, is_remote, shown
from nextvid_mm.storage import Storage, StorageError

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def memory():
    with fsspec.open('memory://files/a.bin', 'wb') as file:
        file.write(DATA)
    return 'memory://files/a.bin'


@pytest.fixture
def web(tmp_path):
    pytest.importorskip('aiohttp')
    (tmp_path / 'a.bin').write_bytes(DATA)
    with serve(tmp_path) as (address, faults):
        yield f'{address}/a.bin', faults


@pytest.fixture
def local(tmp_path):
    (tmp_path / 'a.bin').write_bytes(DATA)
    return tmp_path / 'a.bin'


def test_a_file_on_a_disk_and_in_memory(local, memory):
    for path in (local, memory):
        file = Storage().open(path)
        assert file.name == str(path)
        file.seek(0)
        assert file.read(10) == DATA[:10]
        file.seek(262_140)
        assert file.read(4) == DATA[262_140:262_144]
        assert file.seek(-3, os.SEEK_END) == len(DATA) - 3
        assert file.read(10) == DATA[-3:]
        assert file.read(10) == b''
        with pytest.raises(ValueError, match='there is no byte -1'):
            file.seek(-1)
        file.close()
        with pytest.raises(ValueError, match='closed'):
            file.read(1)


@pytest.mark.parametrize('kilobytes', [1, 256])
def test_buffered_readers_see_the_same_bytes(memory, web, kilobytes):
    for path in (memory, web[0]) if kilobytes > 1 else (memory,):
        reader = io.BufferedReader(Storage(block_kilobytes=kilobytes).open(path), 5000)
        reader.seek(1000)
        assert reader.read(9000) == DATA[1000:10_000]
        reader.seek(0)
        assert reader.read() == DATA


def test_a_part_is_a_file_of_its_own(local, memory):
    for path in (local, memory):
        part = Storage().open(path, (1000, 500))
        assert part.size == 500
        assert part.read(10) == DATA[1000:1010]
        part.seek(495)
        assert part.read(100) == DATA[1495:1500]
        part.drop(100)
        assert (part.size, part.read(4)) == (400, DATA[1100:1104])
        with pytest.raises(StorageError, match=r'has 1048576 bytes, not the 500 from 1048570 on'):
            Storage().open(path, (len(DATA) - 6, 500))


def test_only_what_is_asked_for_is_fetched(web):
    address, faults = web
    file = Storage(block_kilobytes=64).open(address)
    file.seek(500_000)
    file.read(100)
    file.seek(500_200)
    file.read(100)
    assert faults.bytes == 64 << 10


def test_requests_that_fail_are_made_again(web):
    address, faults = web
    faults.fail = 3
    file = Storage().open(address)
    assert file.read(4) == DATA[:4]
    faults.short = 1
    file.seek(400_000)
    assert file.read(4) == DATA[400_000:400_004]


def test_what_servers_say_is_kept_of_a_bounded_number_of_files(tmp_path, monkeypatch):
    """A tar file that is opened again and again is asked for once, between videos of one use."""
    monkeypatch.setattr('nextvid_mm.storage._KEPT_INFOS', 3)
    asked = []
    info = MemoryFileSystem.info
    monkeypatch.setattr(
        MemoryFileSystem, 'info', lambda self, path: asked.append(path) or info(self, path)
    )
    storage = Storage()
    for number in range(10):
        for name in ('clips.tar', f'{number}.mp4'):
            with fsspec.open(f'memory://infos/{name}', 'wb') as file:
                file.write(DATA[:10])
            assert storage.open(f'memory://infos/{name}').size == 10
            assert len(storage.infos) <= 3
    assert asked.count('/infos/clips.tar') == 1
    assert len(asked) == 11


def test_a_server_that_stays_away_is_given_up(web, tmp_path):
    address, faults = web
    faults.fail = 10_000
    with pytest.raises(StorageError, match=r'a.bin: not fetched in 0 s: .*503'):
        Storage(patience=0.3).open(address)
    faults.fail = 0
    storage = Storage()
    file = storage.open(address)
    storage.patience, faults.short = 0.3, 10_000
    with pytest.raises(StorageError, match='a.bin: not fetched in'):
        file.read(4)
    with pytest.raises(StorageError, match='not fetched'):
        Storage(patience=0.2).open('http://127.0.0.1:9/a.bin')


def test_a_slow_answer_ends_at_the_deadline(web):
    address, faults = web
    faults.delay = 30.0
    with pytest.raises(StorageError, match='not fetched'):
        Storage().open(address, deadline=time.monotonic() + 0.5)
    faults.delay = 0.0
    file = Storage().open(address, deadline=time.monotonic() + 60)
    file._source._deadline = time.monotonic() + 0.5
    faults.delay = 30.0
    with pytest.raises(StorageError, match='not fetched'):
        file.read(4)
    faults.delay = 0.0


def test_a_file_that_is_replaced_meanwhile_gives_no_mixture(web, tmp_path):
    address, _ = web
    file = Storage(block_kilobytes=64).open(address)
    assert file.read(4) == DATA[:4]
    (tmp_path / 'a.bin').write_bytes(DATA[::-1])
    file.seek(500_000)
    with pytest.raises(StorageError, match='was replaced while it was read'):
        file.read(4)


def test_what_is_not_there_or_forbidden_is_said_at_once(web, tmp_path):
    address, _ = web
    with pytest.raises(FileNotFoundError, match='gone'):
        Storage().open(address.replace('a.bin', 'gone.bin'))
    (tmp_path / 'forbidden.bin').write_bytes(b'x')
    with pytest.raises(PermissionError, match='forbidden.bin'):
        Storage().open(address.replace('a.bin', 'forbidden.bin'))
    with pytest.raises(FileNotFoundError):
        Storage().open('memory://files/gone.bin')


def test_a_signal_ends_the_wait_for_an_answer(web):
    """As loader processes are told to give up a file: once."""
    address, faults = web
    file = Storage().open(address)
    faults.delay = 30.0
    before = signal.signal(signal.SIGALRM, interrupt), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(ReadTimeoutError, match='the run was to end'), interruptible():
            file.read(4)
    finally:
        signal.signal(signal.SIGALRM, before[0])
        faults.delay = 0.0
    assert time.monotonic() - before[1] < 5


def test_headers_that_are_set_go_with_every_request(web):
    address, faults = web
    file = Storage(headers={'X-Access': 'yes'}).open(address)
    assert file.read(4) == DATA[:4]
    assert [(sent.get('X-Access'), 'If-Match' in sent) for sent in faults.headers] == [
        ('yes', False),
        ('yes', True),
    ]


def test_what_gives_access_is_never_shown(web):
    address, faults = web
    signed = address.replace('//', '//user:hidden@') + '?X-Signature=hidden'
    assert shown(signed) == address
    assert shown('s3://bucket/a b.mp4') == 's3://bucket/a b.mp4'
    assert shown('/local/a?b.mp4') == '/local/a?b.mp4'
    faults.fail = 10_000
    with pytest.raises(StorageError) as error:
        Storage(patience=0.2).open(address + '?X-Signature=hidden')
    assert 'hidden' not in str(error.value)
    with pytest.raises(ValueError, match=r'storage has secret: .*environment'):
        Storage(secret='hidden')


def test_blocks_are_kept_on_the_disk_up_to_a_size(web, tmp_path):
    address, faults = web
    settings = dict(block_kilobytes=64, cache_dir=str(tmp_path / 'cache'), cache_gigabytes=2**-13)
    for _ in range(2):
        assert io.BufferedReader(Storage(**settings).open(address)).read() == DATA
    assert len(list((tmp_path / 'cache').rglob('*.block'))) == 2  # 128 KiB
    settings['cache_gigabytes'] = 1
    assert io.BufferedReader(Storage(**settings).open(address)).read() == DATA
    assert len(list((tmp_path / 'cache').rglob('*.block'))) == 16
    once = faults.bytes
    assert io.BufferedReader(Storage(**settings).open(address)).read(100) == DATA[:100]
    assert faults.bytes == once


def test_nothing_is_kept_of_a_file_that_cannot_be_told_from_the_next(memory, tmp_path):
    for content in (DATA, DATA[::-1]):
        with fsspec.open(memory, 'wb') as file:
            file.write(content)
        storage = Storage(cache_dir=str(tmp_path / 'cache'))
        file = storage.open(memory)
        assert file.version == ''
        assert file.read(4) == content[:4]


@pytest.mark.parametrize('key', ['patience', 'block_kilobytes', 'cache_gigabytes'])
def test_values_out_of_range(key):
    with pytest.raises(ValueError, match=rf'storage.{key}=0 must be larger than 0'):
        Storage(**{key: 0})


def test_addresses():
    assert is_remote('s3://bucket/a.mp4')
    assert not is_remote('/a/b.mp4')


@pytest.fixture
def closed_bucket(tmp_path, monkeypatch):
    """A server that knows buckets and gives nothing of some; options that find it."""
    s3fs = pytest.importorskip('s3fs')
    (tmp_path / 'forbidden.bin').write_bytes(DATA)
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.setenv(name, 'hidden')
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(tmp_path / 'none'))
    s3fs.S3FileSystem.clear_instance_cache()
    with serve(tmp_path) as (address, faults):
        yield Storage(patience=20, endpoint_url=address), faults
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_without_permission_is_said_at_once(closed_bucket):
    storage, faults = closed_bucket
    with pytest.raises(PermissionError, match='s3://bucket/forbidden.bin may not be read') as error:
        storage.open('s3://bucket/forbidden.bin')
    assert 'hidden' not in str(error.value)
    assert faults.requests == 1


def test_missing_credentials_are_said_at_once(closed_bucket, monkeypatch):
    storage, faults = closed_bucket
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.delenv(name)
    begin = time.monotonic()
    with pytest.raises(PermissionError, match=r's3://bucket/a.bin may not be read: .*credentials'):
        storage.open('s3://bucket/a.bin')
    assert faults.requests == 0
    assert time.monotonic() - begin < storage.patience


@pytest.fixture(scope='module')
def bucket():
    """An S3 server on this machine, with one object; credentials are in the environment alone."""
    pytest.importorskip('s3fs')
    server = pytest.importorskip('moto.server').ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AWS_ACCESS_KEY_ID', 'id')
        patch.setenv('AWS_SECRET_ACCESS_KEY', 'hidden')
        options = dict(endpoint_url=f'http://{host}:{port}')
        system = fsspec.filesystem('s3', **options)
        system.mkdir('bucket')
        system.pipe('bucket/a b.bin', DATA)
        yield system, options
    server.stop()


def test_an_object_in_a_bucket(bucket):
    system, options = bucket
    file = Storage(block_kilobytes=64, **options).open('s3://bucket/a b.bin')
    assert file.size == len(DATA)
    file.seek(500_000)
    assert file.read(8) == DATA[500_000:500_008]
    part = Storage(**options).open('s3://bucket/a b.bin', (1000, 500))
    assert part.read(10) == DATA[1000:1010]
    with pytest.raises(FileNotFoundError, match='s3://bucket/gone.bin does not exist'):
        Storage(**options).open('s3://bucket/gone.bin')
    system.pipe('bucket/a b.bin', DATA[::-1])
    file.seek(0)
    with pytest.raises(StorageError, match='was replaced while it was read'):
        file.read(8)
    system.pipe('bucket/a b.bin', DATA)
