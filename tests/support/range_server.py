"""An HTTP server on the loopback interface that serves ranges of files, and faults on demand."""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Faults:
    """What the server does wrong; ``counts`` the answers to each kind of request."""

    def __init__(self):
        self.fail = 0  # so many answers are 503
        self.short = 0  # so many bodies lack their last byte
        self.whole = 0  # so many answers are the whole file, whatever was asked for
        self.delay = 0.0
        self.requests, self.bytes = 0, 0
        self.seen, self.headers = [], []


@contextmanager
def serve(folder, port=0):
    """Serve a folder; gives the address and the faults."""
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def log_message(self, *_):
            """Stay silent."""

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _plain(self, status, text=b''):
            self.send_response(status)
            self.send_header('Content-Length', str(len(text)))
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(text)

        def _answer(self, body):
            faults.requests += 1
            faults.seen.append(self.path)
            faults.headers.append(dict(self.headers))
            time.sleep(faults.delay)
            if faults.fail:
                faults.fail -= 1
                return self._plain(503)
            path = Path(folder, self.path.partition('?')[0].lstrip('/'))
            if 'forbidden' in path.name:
                return self._plain(403)
            if not path.is_file():
                return self._plain(404)
            data = path.read_bytes()
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            if self.headers.get('If-Match', tag) != tag:
                return self._plain(412)
            status, total, span = 200, len(data), self.headers.get('Range')
            if faults.whole and body:
                faults.whole -= 1
            elif span and body:
                first, _, last = span.removeprefix('bytes=').partition('-')
                first, last = int(first), min(int(last or total - 1), total - 1)
                data, status = data[first : last + 1], 206
            if faults.short and body:
                faults.short -= 1
                data = data[:-1]
            self.send_response(status)
            self.send_header('Content-Length', str(len(data)))
            self.send_header('Accept-Ranges', 'bytes')
            self.send_header('ETag', tag)
            if status == 206:
                self.send_header('Content-Range', f'bytes {first}-{last}/{total}')
            self.end_headers()
            if body:
                faults.bytes += len(data)
                self.wfile.write(data)
            return None

    connections = []

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def process_request(self, request, client_address):
            connections.append(request)
            super().process_request(request, client_address)

        def handle_error(self, *_):
            """Clients that gave up are no matter."""

    server = Server(('127.0.0.1', port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', faults
    finally:
        server.shutdown()
        server.server_close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
