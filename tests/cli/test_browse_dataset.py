import pytest

from nextvid_mm.cli import main


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        (['--replaced', 'absent.txt'], 'absent.txt'),
        ([], 'give either a config or --replaced LIST'),
        (['CONFIG', '--start', '-1'], '--start=-1 must be a whole number of at least 0'),
        (['--replaced', 'a.txt', '--start', '1'], '--start is for the clips of a config'),
        (['configs/probe/demo.py'], 'configs/probe/demo.py has no stage table'),
        (['CONFIG', '--number', '0'], '--number=0 must be a whole number of at least 1'),
    ],
)
def test_bad_input_is_one_line(arguments, fault, capsys):
    with pytest.raises(SystemExit) as stop:
        main('browse_dataset', arguments)
    said = capsys.readouterr().err + str(stop.value)
    assert fault in said
    assert 'Traceback' not in said
