"""Kills ``tools/pack_shards.py`` at random moments, starts it again, looks for anything half.

``python -m benchmarks.packing --kills 25`` packs encoded parts of videos in several processes.
After every SIGKILL: each tar file that is there is that of a run that nobody disturbed, byte for
byte, and so is the table; no process is left. The next run goes on; what is finished is not done
again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import av

from benchmarks.numbered_files import picture
from benchmarks.stops import end, has_ended, processes
from nextvid_mm.datasets.clip_shards import TABLE
from nextvid_mm.progress import progress_bar
from nextvid_mm.run_folder import LOCK

TOOL = Path(__file__).resolve().parents[1] / 'tools' / 'pack_shards.py'
Start = Callable[[Sequence[str]], int]


def start_tool(words: Sequence[str]) -> int:
    """Start the tool in an interpreter and a session of its own; returns its process number."""
    command = [sys.executable, str(TOOL), *words]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ).pid


def write_source(folder: Path, videos: int, seconds: int, parts: int) -> Path:
    """Videos, and a table of parts of them; returns the table."""
    rows = ['path,start,end,label']
    for number in range(videos):
        with av.open(str(folder / f'{number}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25, options={'preset': 'ultrafast'})
            stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuv420p'
            for frame in range(25 * seconds):
                shown = picture((100 * number + frame) % 1000, (128, 96))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format='rgb24')))
            container.mux(stream.encode())
        for part in range(parts):
            begin = part * seconds / parts
            rows.append(f'{number}.mp4,{begin},{begin + seconds / parts},{part}')
    (folder / 'parts.csv').write_text('\n'.join(rows) + '\n')
    return folder / 'parts.csv'


def kill_and_go_on(
    words: Sequence[str], out: Path, whole: Path, kills: int, seed: int, start: Start = start_tool
) -> tuple[int, list[str]]:
    """Pack into ``whole`` undisturbed, and into ``out`` with kills.

    Args:
        words: source and flags of the tool, without the folder.
        out: is emptied when a run has come to its end before its kill.
        whole: what is right.
        kills: how many.
        seed: of the moments.
        start: starts the tool, and returns its process number.

    Returns:
        How many runs came to their end, and what was wrong.
    """
    source, *flags = words
    begin = time.monotonic()
    pid = start([source, str(whole), *flags])
    begin = _begun(whole, pid) or begin
    if code := end(pid):
        raise ChildProcessError(f'the undisturbed run ended with {code}')
    seconds = time.monotonic() - begin
    draw, ends, done, wrong = random.Random(seed), 0, 0, []
    with progress_bar('kills') as bar:
        task = bar.add_task('kills', total=kills)
        while done < kills:
            pid = start([source, str(out), *flags])
            _begun(out, pid)
            time.sleep(draw.uniform(0.0, 0.6) * seconds)
            os.kill(pid, signal.SIGKILL)
            code = end(pid)
            if left := left_over(pid):
                wrong.append(f'processes left: {left}')
            wrong += different(out, whole)
            if code == -signal.SIGKILL:
                done += 1
                bar.advance(task)
            else:
                ends += 1
                wrong += [f'exit code {code}'] if code else []
                wrong += different(out, whole, complete=True)
                shutil.rmtree(out)
    times = {path: path.stat().st_mtime_ns for path in out.glob('*.tar')}
    if code := end(start([source, str(out), *flags])):
        wrong.append(f'the last run ended with {code}')
    wrong += [f'{path.name} was packed again' for path, then in times.items()
              if path.stat().st_mtime_ns != then]  # fmt: skip
    return ends, wrong + different(out, whole, complete=True)


def _begun(folder: Path, pid: int) -> float | None:
    """Wait until a run has its folder; None if it ends before."""
    while not has_ended(pid):
        with suppress(FileNotFoundError):  # not yet, or no longer
            if f'"pid": {pid},' in (folder / LOCK).read_text():
                return time.monotonic()
        time.sleep(0.002)
    return None


def left_over(session: int, seconds: float = 5.0) -> list[int]:
    """Processes that are still in a session; what is just ending has some seconds."""
    limit = time.monotonic() + seconds
    while True:
        found = [pid for pid, state, _, of in processes() if of == session and state != 'Z']
        if not found or time.monotonic() > limit:
            return found
        time.sleep(0.05)


def different(out: Path, whole: Path, complete: bool = False) -> list[str]:
    """Tar files, table and list of faults that are not those of the undisturbed run."""
    kinds = ('*.tar', TABLE, '*.bad.txt')
    ours, theirs = ({p.name: p for kind in kinds for p in f.glob(kind)} for f in (out, whole))
    found = [f'{name} is not that of the undisturbed run' for name, path in ours.items()
             if name not in theirs or path.read_bytes() != theirs[name].read_bytes()]  # fmt: skip
    if complete:
        found += [f'{name} is missing' for name in theirs.keys() - ours.keys()]
        found += [f'{path.name} is left' for path in out.glob('*.tmp')]
    return found


def main() -> int:
    """Parse, pack in a folder of its own, report."""
    parser = argparse.ArgumentParser('benchmarks.packing', description=__doc__)
    parser.add_argument('--kills', type=int, default=25)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/packing'))
    args = parser.parse_args()
    folder = args.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = write_source(folder, videos=6, seconds=10, parts=10)
    words = [str(source), '--root', str(folder), '--short-side', '64', '--per-shard', '5']
    ends, wrong = kill_and_go_on(words, folder / 'out', folder / 'whole', args.kills, args.seed)
    for line in wrong[:20]:
        print(line)
    print(f'{args.kills} kills, {ends} runs came to their end before: {len(wrong)} things wrong')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
