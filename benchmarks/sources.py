"""What reading a clip costs by where it lies, and what a list of millions costs."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import av
import numpy as np

from benchmarks.numbered_files import picture
from benchmarks.report import Report
from benchmarks.timing import side_by_side
from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.list_index import ClipList, ListedClip, open_list
from nextvid_mm.datasets.mixture_schedule import MixtureSchedule
from nextvid_mm.datasets.packing import pack
from nextvid_mm.datasets.transforms.decode import VideoDecode, VideoInit
from nextvid_mm.datasets.transforms.sampling import SampleClipByTime
from nextvid_mm.storage import _Remote

FRAMES, FPS = 16, 4
SIZE, RATE, SECONDS, GOP = (340, 256), 30, 10, 12
_NGINX = """
{user} daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1;
events {{}}
http {{
    log_format brief '$status $body_bytes_sent'; access_log {log};
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def compare_sources(clips: int = 32, repeats: int = 5) -> Report:
    """Read clips of the same videos from files, tar files, a web server and a bucket.

    The servers run on this machine: what is compared is the work of reading, not a network.

    Args:
        clips: clips per run.
        repeats: timed runs.
    """
    report = Report(
        f'clips of {FRAMES} frames from {SECONDS} s of H.264, {SIZE[0]} x {SIZE[1]}, GOP {GOP}',
        dict(clips=clips, repeats=repeats),
        ('source', 'ms per clip', '±', 'clips/s', 'KB fetched', 'share of the file', 'requests',
         'cores for 100 clips/s'),
    )  # fmt: skip
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        size = _write_videos(folder)
        places: dict[str, tuple[str, str, dict[str, Any]]] = {
            'files': (f'{folder}/list.txt', str(folder), {}),
            'tar files': (f'{folder}/{TABLE}', str(folder), {}),
        }
        if (address := stack.enter_context(web_server(folder))) is not None:
            places['HTTP, files'] = (f'{address}/list.txt', address, {})
            places['HTTP, tar files'] = (f'{address}/{TABLE}', address, {})
        else:
            report.notes.append('HTTP: nginx is not installed')
        if (options := stack.enter_context(bucket(folder))) is not None:
            places['S3, files'] = (f'{folder}/list.txt', 's3://bucket', options)
            places['S3, tar files'] = (f'{folder}/{TABLE}', 's3://bucket', options)
        else:
            report.notes.append('S3: moto or s3fs is not installed')
        runs = {
            name: partial(read_clips, open_list(listed, prefix), clips, options)
            for name, (listed, prefix, options) in places.items()
        }
        series = side_by_side(runs, repeats, 1, 'wall', 'sources')
        for name, values in series.items():
            with counted() as count:
                runs[name]()
            row = {'source': name, 'ms per clip': 1e3 * values.median / clips}
            row |= {'±': f'{values.spread:.0%}', 'clips/s': clips / values.median}
            row['cores for 100 clips/s'] = 100 * values.median / clips
            if count['requests']:
                fetched = count['bytes'] / clips
                row |= {'KB fetched': fetched / 1e3, 'share of the file': fetched / size}
                row['requests'] = count['requests'] / clips
            report.add(**row, seconds=values.seconds)
    report.notes.append('servers of this machine, one process: a network adds its own time')
    return report


def read_clips(entries: ClipList, clips: int, options: Mapping[str, Any]) -> None:
    """Open, sample and decode clips."""
    steps = [VideoInit(storage=dict(options)), SampleClipByTime(fps=FPS), VideoDecode()]
    for number in range(clips):
        info = entries[number % len(entries)] | dict(num_frames=FRAMES)
        np.random.seed(number)
        for step in steps:
            info = step(info)


def _write_videos(folder: Path, videos: int = 8) -> float:
    """Videos, their list, and the same in tar files; gives the mean size of a video in bytes."""
    names = [f'{number}.mp4' for number in range(videos)]
    for first, name in enumerate(names):
        with av.open(str(folder / name), 'w') as container:
            stream = container.add_stream('libx264', rate=RATE, options={'g': str(GOP)})
            stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
            for number in range(RATE * SECONDS):
                shown = picture((100 * first + number) % 1000, SIZE)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format='rgb24')))
            container.mux(stream.encode())
    (folder / 'list.txt').write_text('\n'.join(names))
    entries = [ListedClip(str(folder / name), -1, line) for line, name in enumerate(names, 1)]
    index_shards([packed.shard for packed in pack(entries, folder / 'tar', 4, workers=0)],
                 folder / TABLE)  # fmt: skip
    return float(np.mean([(folder / name).stat().st_size for name in names]))


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count requests and bytes of remote files meanwhile."""
    count, fetch = dict(requests=0, bytes=0), _Remote._fetch

    def counting(self: _Remote, first: int, last: int) -> bytes:
        count['requests'] += 1
        count['bytes'] += last - first
        return fetch(self, first, last)

    _Remote._fetch = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        _Remote._fetch = fetch  # type: ignore[method-assign]


@contextmanager
def web_server(root: Path, log: Path | None = None) -> Iterator[str | None]:
    """Nginx on the loopback interface; gives its address, None where it is not installed.

    Args:
        root: folder that is served.
        log: gets a line of status and bytes for each answer; None for no log.
    """
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        yield None
        return
    program = which('nginx') or which('nginx', path='/usr/sbin')
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, 'nginx.conf')
        # As root, it would read files as somebody else, who may see less.
        user = 'user root;' if os.geteuid() == 0 else ''
        written = f'{log} brief' if log else 'off'
        config.write_text(
            _NGINX.format(folder=folder, port=port, root=root, user=user, log=written)
        )
        command = [program, '-e', f'{folder}/log', '-c', str(config), '-p', folder]
        server = subprocess.Popen(command)
        try:
            _wait_for(port)
            yield f'http://127.0.0.1:{port}'
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int, seconds: float = 10.0) -> None:
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        with suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f'no server at port {port} after {seconds:g} s')


@contextmanager
def bucket(folder: Path) -> Iterator[dict[str, Any] | None]:
    """An S3 server with a folder's files in ``s3://bucket``; gives the options that find it."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        os.environ.setdefault(name, 'test')
    options = dict(endpoint_url=f'http://{host}:{port}')
    system = s3fs.S3FileSystem(**options)
    system.mkdir('bucket')
    for path in folder.rglob('*'):
        if path.is_file():
            system.pipe(f'bucket/{path.relative_to(folder)}', path.read_bytes())
    try:
        yield options
    finally:
        server.stop()


def measure_lists(lines: int = 1_000_000) -> Report:
    """Index, open and read a list of many lines; look up a far position of a schedule.

    Args:
        lines: of the list.
    """
    report = Report(
        f'a list of {lines:,} lines',
        dict(lines=lines),
        ('what', 'seconds', 'processor s', 'MB of this process'),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'list.txt')
        with path.open('w') as file:
            file.writelines(
                f'part{n // 1000:05d}/video_{n:09d}.mp4 {n % 400}\n' for n in range(lines)
            )
        for what in ('read it into an index', 'open it'):
            _measure(report, what, lambda: open_list(path, '/videos'))
        entries, rng = open_list(path, '/videos'), np.random.default_rng(0)
        places = rng.integers(lines, size=1000).tolist()
        _measure(report, '1,000 entries', lambda: [entries[place] for place in places])
    schedule = MixtureSchedule(list('abcd'), [0.1, 0.2, 0.3, 0.4], [lines] * 4, seed=0)
    schedule.draw(0)
    _measure(report, 'position 100,000,000 of 4 such', lambda: schedule.draw(100_000_000))
    return report


def _measure(report: Report, what: str, work: Any) -> None:
    memory, wall, spent = _private_memory(), time.perf_counter(), time.process_time()
    kept = work()
    seconds, processor = time.perf_counter() - wall, time.process_time() - spent
    grown = _private_memory() - memory
    report.add(**{'what': what, 'seconds': seconds, 'processor s': processor,
                  'MB of this process': grown / 2**20})  # fmt: skip
    del kept


def _private_memory() -> int:
    """Bytes that this process shares with no other."""
    with open('/proc/self/status') as status:
        line = next(line for line in status if line.startswith('RssAnon'))
    return int(line.split()[1]) << 10
