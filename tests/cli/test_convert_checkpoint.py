import inspect

from nextvid_mm.cli.convert_checkpoint import FORMATS, OPTIONS, TARGETS


def test_formats_and_options_are_those_of_the_converters():
    from nextvid_mm import interop

    assert (*interop.FORMATS, 'nextvid', 'sharded') == FORMATS
    assert TARGETS == interop.TARGETS
    readers = [*interop.FORMATS.values(), interop.export_encoder]
    taken = {name for reader in readers for name in inspect.signature(reader).parameters}
    assert set(OPTIONS) == taken - {'path', 'output'}


def test_a_missing_file_is_one_line(call):
    said = call('convert_checkpoint', '--from', 'vjepa2', 'absent.pt', 'out.pth')
    assert said.startswith('convert_checkpoint: error: ')
    assert 'absent.pt' in said


def test_a_format_nobody_knows_is_a_usage_error(call, capsys):
    assert call('convert_checkpoint', '--from', 'dino', 'a.pt', 'b.pt') == 2
    assert 'videomae' in capsys.readouterr().err
