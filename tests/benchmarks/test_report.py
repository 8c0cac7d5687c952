import json

from rich.console import Console

from benchmarks.report import Report, machine, shown


def test_table_and_json_say_the_same(tmp_path):
    report = Report('speed', dict(repeats=3), ('what', 'median s'))
    report.add(**{'what': 'ours', 'median s': 0.123456}, seconds=(0.1, 0.2))
    report.notes.append('a note')
    console = Console(record=True, width=80)
    report.show(console)
    text = console.export_text()
    assert 'ours' in text
    assert '0.123' in text
    assert 'a note' in text
    assert '0.2' not in text
    report.write(tmp_path / 'new' / 'speed.json')
    stored = json.loads((tmp_path / 'new' / 'speed.json').read_text())
    assert stored['rows'] == [{'what': 'ours', 'median s': 0.123456, 'seconds': [0.1, 0.2]}]
    assert stored['settings'] == dict(repeats=3)
    assert stored['machine'] == machine()


def test_cells():
    assert [shown(v) for v in (None, 3, 0.0001234, 'x')] == ['', '3', '0.000123', 'x']


def test_the_machine_has_a_name():
    assert machine()['processor']
    assert machine()['threads'] == 1
