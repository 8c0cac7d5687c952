"""setup.cfg, constraints.txt and the two commands belong together."""

import os
import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ('3.10', '3.11', '3.12', '3.13')


def _declared() -> list[Requirement]:
    config = ConfigParser()
    config.read(ROOT / 'setup.cfg')
    blocks = [config['options']['install_requires'], *config['options.extras_require'].values()]
    return [Requirement(line) for block in blocks for line in block.split('\n') if line]


def _pins(python: str) -> dict[str, str]:
    """Pinned version of each package for one Python version; every line is checked."""
    pins = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        if not line or line.startswith('#'):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({'python_version': python}):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == '==', line
        name = canonicalize_name(requirement.name)
        assert name not in pins, f'{name} is pinned twice for Python {python}'
        pins[name] = specifier.version
    return pins


@pytest.mark.parametrize('python', PYTHONS)
def test_every_dependency_is_pinned_inside_its_range(python):
    pins = _pins(python)
    for requirement in _declared():
        name = canonicalize_name(requirement.name)
        assert name in pins, f'{name} of setup.cfg is missing in constraints.txt'
        assert pins[name] in requirement.specifier, f'{requirement} excludes {pins[name]}'


@pytest.mark.parametrize('python', PYTHONS)
def test_one_opencv_only(python):
    assert [name for name in _pins(python) if 'opencv' in name] == [
        'opencv-contrib-python-headless'
    ]


def test_no_registry_host_is_named():
    for name in ('constraints.txt', 'setup.cfg', 'pyproject.toml', 'tools/setup_env.sh'):
        assert not re.search(r'(index-url|find-links|https?://)', (ROOT / name).read_text()), name


@pytest.mark.parametrize('script', ['demo.sh', 'run_tests.sh', '.ci/run'])
def test_commands_are_executable_and_well_formed(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(['bash', '-n', ROOT / script], check=True)


@pytest.fixture
def run_without_python(tmp_path):
    """Run a command in an environment whose Python is of no use: any set-up ends at once."""
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin' / 'python'
    python.write_text('#!/bin/sh\nexit 1\n')
    python.chmod(0o755)
    settings = dict(
        cwd=ROOT,
        env={**os.environ, 'VIRTUAL_ENV': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return lambda *command: subprocess.run(command, **settings)


def test_a_python_that_is_too_old_is_refused(run_without_python):
    done = run_without_python('bash', '-c', 'set -eu; source tools/setup_env.sh')
    assert done.returncode == 1
    assert 'too old, Python >= 3.10 is needed' in done.stderr


@pytest.mark.parametrize('flags', [['--help'], ['-h'], ['--seeds', '1', '--help']])
@pytest.mark.parametrize('script', ['./demo.sh', './run_tests.sh'])
def test_help_comes_without_any_set_up(run_without_python, script, flags):
    done = run_without_python(script, *flags)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith(f'usage: {script} ')


def test_the_demos_help_names_all_its_flags(run_without_python):
    """The script cannot ask tools/demo.py, which needs what is yet to be installed."""
    text = (ROOT / 'tools/demo.py').read_text(encoding='utf-8')
    flags = re.findall(r"add\(\s*'(--[\w-]+)'", text)
    assert len(flags) >= 3
    said = run_without_python('./demo.sh', '--help').stdout
    assert set(re.findall(r'^  (--[\w-]+)', said, re.MULTILINE)) == set(flags)
