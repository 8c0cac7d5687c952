"""Real servers on this machine: nginx, and an S3 server from PyPI."""

from __future__ import annotations

import http.client
import logging
import multiprocessing
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

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


@contextmanager
def web_server(root: Path, log: Path | None = None) -> Iterator[str | None]:
    """Nginx on the loopback interface; gives its address, None where it is not installed.

    Args:
        root: folder that is served.
        log: gets a line of status and bytes for each answer; None for no log.
    """
    program = which('nginx') or which('nginx', path='/usr/sbin')
    if program is None or not find_spec('aiohttp'):
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
    """An S3 server with a folder's files in ``s3://bucket``; gives the options that find it.

    It runs in a process of its own; None where moto or s3fs is not installed.
    """
    if not all(map(find_spec, ('moto', 's3fs'))):
        yield None
        return
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        os.environ.setdefault(name, 'test')
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context('fork')
    server = context.Process(target=_serve_bucket, args=(folder, theirs), daemon=True)
    server.start()
    try:
        if not ours.poll(60):
            raise TimeoutError('no S3 server after 60 s')
        yield ours.recv()
    finally:
        server.kill()
        server.join()


def _serve_bucket(folder: Path, pipe: Any) -> None:
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # Buckets are kept in the memory of the process, of which this one is a fork.
    connection = http.client.HTTPConnection(host, port)
    connection.request('POST', '/moto-api/reset')
    connection.getresponse().read()
    options = dict(endpoint_url=f'http://{host}:{port}')
    system = s3fs.S3FileSystem(**options)
    system.mkdir('bucket')
    for path in folder.rglob('*'):
        if path.is_file():
            system.pipe(f'bucket/{path.relative_to(folder)}', path.read_bytes())
    pipe.send(options)
    threading.Event().wait()
