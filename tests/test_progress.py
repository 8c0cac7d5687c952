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
