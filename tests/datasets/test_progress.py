from nextvid_mm.datasets.progress import progress_bar


def test_it_counts_in_its_unit_or_says_nothing(capsys):
    for quiet in (False, True):
        with progress_bar('clips', quiet) as bar:
            bar.advance(bar.add_task('encode', total=3), 3)
        printed = capsys.readouterr().out
        assert ('3/3' in printed and 'clips, elapsed' in printed) != quiet
