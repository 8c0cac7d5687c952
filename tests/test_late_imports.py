import importlib
import subprocess
import sys

from nextvid_mm import late_imports

WITHOUT_MMENGINE = """
import importlib.machinery as machinery
import sys

def without_mmengine(name, *args, find=machinery.PathFinder.find_spec):
    return None if name == 'mmengine' else find(name, *args)

machinery.PathFinder.find_spec = without_mmengine
sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '')]
import nextvid_mm
try:
    nextvid_mm.registry
except ModuleNotFoundError as error:
    print(error)
"""


def test_a_missing_library_is_told_with_the_command_that_installs_it():
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT_MMENGINE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f'mmengine is not installed. {late_imports.INSTALL}'


def test_a_waiting_action_runs_once_and_after_the_module(tmp_path, monkeypatch):
    (tmp_path / 'waited_for.py').write_text('done = True\n')
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    late_imports.when_imported(
        'waited_for', 'sys', act=lambda: seen.append(sys.modules['waited_for'].done)
    )
    assert seen == []
    module = importlib.import_module('waited_for')
    assert seen == [True]
    importlib.reload(module)
    assert seen == [True]
    late_imports.when_imported('waited_for', act=lambda: seen.append('now'))
    assert seen == [True, 'now']
