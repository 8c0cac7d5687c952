"""A bar that counts, and lines where there is no terminal."""

import io

from rich.console import Console

from nextvid_mm.progress import progress_bar, track


def test_it_counts_in_its_unit_or_says_nothing(capsys):
    for quiet in (False, True):
        with progress_bar('clips', quiet) as bar:
            bar.advance(bar.add_task('encode', total=3), 3)
        printed = capsys.readouterr().out
        assert ('3/3' in printed and 'clips, elapsed' in printed) != quiet


def test_it_goes_with_what_is_done(capsys):
    assert list(track(iter('abc'), 'reading', 'files', total=3)) == ['a', 'b', 'c']
    assert '3/3 files' in capsys.readouterr().out
    assert list(track('abc', 'reading', 'files', quiet=True)) == ['a', 'b', 'c']
    assert capsys.readouterr().out.strip() == ''


def test_without_a_terminal_a_line_says_how_far_it_is(monkeypatch):
    now, console = [100.0], Console(file=io.StringIO(), force_terminal=False)
    monkeypatch.setattr('nextvid_mm.progress.time.monotonic', lambda: now[0])
    with progress_bar('clips', console=console) as bar:
        task = bar.add_task('encode', total=1000)
        for _ in range(4):
            bar.advance(task, 10)
            now[0] += 16.0
        lines = [line for line in console.file.getvalue().splitlines() if line]
    assert len(lines) == 1  # 16 s and 32 s after the first
    assert lines[0].startswith('encode: 30 of 1,000, ')


def test_in_a_terminal_there_are_bars_only(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr('nextvid_mm.progress.LINE_SECONDS', 0.0)
    with progress_bar('clips', console=console) as bar:
        bar.advance(bar.add_task('encode', total=3), 1)
        assert 'encode: 1 of 3' not in console.file.getvalue()
