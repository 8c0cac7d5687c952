"""Dependencies and the two commands belong together; the wheel holds what it needs and works."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nextvid_mm.cli import make_parser
from nextvid_mm.late_imports import INSTALL

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


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere OpenCV brings what it needs')
def test_the_opencv_that_is_installed_never_asks_for_libgl():
    package = Path(find_spec('cv2').origin).parent
    libraries = [*package.glob('*.so'), *package.parent.glob('opencv*.libs/*')]
    assert any(file.name.startswith('cv2') for file in libraries)
    for file in libraries:
        with file.open('rb') as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
            assert content.find(b'\0libc.so.6\0') > 0 or content.find(b'\0GLIBC_') > 0, file
            assert content.find(b'\0libGL.so') < 0, f'{file} needs libGL: see docs/faq.md'


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
    actions = make_parser('demo')._actions
    flags = [flag for action in actions for flag in action.option_strings if flag != '--help']
    flags = [flag for flag in flags if flag.startswith('--')]
    assert len(flags) >= 3
    said = run_without_python('./demo.sh', '--help').stdout
    assert set(re.findall(r'^  (--[\w-]+)', said, re.MULTILINE)) == set(flags)


def test_the_first_import_says_what_the_readme_says():
    command = INSTALL.partition(': ')[2]
    assert f'\n{command}\n' in (ROOT / 'README.md').read_text(encoding='utf-8')


FAMILIES = ('nextvid', 'probe', 'finetune', 'ablations', 'baselines')


def test_every_config_is_in_the_model_index():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert index == [f'configs/{family}/metafile.yml' for family in FAMILIES]
    names = []
    for family, path in zip(FAMILIES, index, strict=True):
        content = yaml.safe_load((ROOT / path).read_text())
        collections = {entry['Name']: entry for entry in content['Collections']}
        assert all((ROOT / entry['README']).is_file() for entry in collections.values())
        for model in content['Models']:
            assert model['In Collection'] in collections
            assert not {'Weights', 'Results'} & set(model), 'nothing is claimed without weights'
        names += [model['Name'] for model in content['Models']]
        listed = {model['Config'] for model in content['Models']}
        there = (ROOT / 'configs' / family).rglob('*.py')
        assert listed == {file.relative_to(ROOT).as_posix() for file in there}
    assert len(names) == len(set(names))


def test_the_index_says_what_the_configs_say():
    for family in FAMILIES:
        for entry in yaml.safe_load((ROOT / f'configs/{family}/metafile.yml').read_text())[
            'Models'
        ]:
            config, said = Config.fromfile(ROOT / entry['Config']), entry['Metadata']
            if family in ('probe', 'finetune'):
                batch = config.train_dataloader.batch_size
                assert (batch, config.train_cfg.max_epochs) == (said['Batch Size'], said['Epochs'])
                continue
            stages, side = config.train_cfg.stages, config.model.backbone.img_size
            assert stages[0].batch_size == said['Batch Size']
            assert sum(stage.steps for stage in stages) == said['Training Steps']
            assert said['Resolution'] == f'{side}x{side}'


def test_a_checkout_is_a_package_that_configs_can_inherit_from(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'nextvid_mm::nextvid/vit-l_4stage.py'\n")
    mine = Config.fromfile(tmp_path / 'mine.py')
    theirs = Config.fromfile(ROOT / 'configs/nextvid/vit-l_4stage.py')
    assert mine.train_cfg.stages == theirs.train_cfg.stages
    assert mine.model.backbone == theirs.model.backbone


MINE = """
_base_ = 'nextvid_mm::nextvid/vit-tiny_demo.py'

_short = dict(steps=1, num_frames=4, batch_size=2)
train_cfg = dict(stages=[dict(stage, **_short) for stage in _base_.train_cfg.stages[:3]])
train_dataloader = dict(num_workers=0, persistent_workers=False)
"""
PROBE = """
_base_ = 'nextvid_mm::probe/demo.py'

train_dataloader = dict(num_workers=0, persistent_workers=False, batch_size=12)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1)
"""


class Installed:
    """The wheel, installed into a folder of its own and used from another."""

    def __init__(self, folder):
        self.site, self.folder = folder / 'site', folder / 'elsewhere'
        self.folder.mkdir()
        source, parts = folder / 'source', ['nextvid_mm', 'configs', 'tools']
        files = ['setup.cfg', 'pyproject.toml', 'model-index.yml', *ROOT.glob('*.md'), 'LICENSE']
        for part in parts:  # not in the checkout, where building leaves files
            unwanted = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=unwanted)
        for file in files:
            shutil.copy(ROOT / file, source)
        pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
        build = ['wheel', '--no-build-isolation', '--no-deps', '--no-index', '-w', folder, source]
        subprocess.run([*pip, *build], check=True)
        (self.wheel,) = folder.glob('*.whl')
        install = ['install', '--no-deps', '--no-index', '--target', self.site, self.wheel]
        subprocess.run([*pip, *install], check=True)
        self.mim = self.site / 'nextvid_mm/.mim'

        # Whatever asks the loader for libGL, as other builds of OpenCV do, gets a broken file.
        self.no_gl = folder / 'no_gl'
        self.no_gl.mkdir()
        for name in ('libGL.so.1', 'libGL.so'):
            (self.no_gl / name).write_bytes(b'no library')

    def run(self, *command):
        """Run Python far from any checkout; what it prints, or the last line of its error."""
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=self.folder,
            env={
                **os.environ,
                'PYTHONPATH': str(self.site),
                'OMP_NUM_THREADS': '1',
                'LD_LIBRARY_PATH': str(self.no_gl),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    def tool(self, name, *arguments):
        """Run a tool of the wheel, as ``mim train nextvid_mm`` does."""
        return self.run(self.mim / 'tools' / name, *arguments)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp('wheel'))


@pytest.mark.slow
def test_the_wheel_holds_configs_and_tools_and_no_more(installed):
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for folder in ('configs', 'tools'):
        files = {file for file in (ROOT / folder).rglob('*') if file.is_file()}
        wanted = {f'nextvid_mm/.mim/{f.relative_to(ROOT).as_posix()}' for f in files}
        checkout_only = {
            f'nextvid_mm/.mim/tools/{name}' for name in ('benchmark.py', 'setup_env.sh')
        }
        wanted = {name for name in wanted - checkout_only if '__pycache__' not in name}
        found = {name for name in names if name.startswith(f'nextvid_mm/.mim/{folder}/')}
        assert found == wanted
    assert 'nextvid_mm/.mim/model-index.yml' in names
    assert {name.split('/')[0].partition('-')[0] for name in names} == {'nextvid_mm'}


@pytest.mark.slow
def test_an_installed_wheel_trains_and_probes(installed):
    """Three steps from an inherited config, then a probe; no checkout, no libGL."""
    if sys.platform == 'linux':
        assert 'OSError' in installed.run('-c', "import ctypes; ctypes.CDLL('libGL.so.1')")
    where = installed.run('-c', 'import nextvid_mm; print(nextvid_mm.__file__)')
    assert where.startswith(str(installed.site))
    sizes = dict(num_train=24, num_val=12, num_images=4, probe_clips_per_class=1)
    flags = [f'--{key.replace("_", "-")}={value}' for key, value in sizes.items()]
    installed.tool('make_demo_data.py', *flags)
    (installed.folder / 'mine.py').write_text(MINE)
    (installed.folder / 'probe.py').write_text(PROBE)
    said = installed.tool('train.py', 'mine.py', '--work-dir', 'work')
    checkpoint = installed.folder / 'work/iter_3.pth'
    assert checkpoint.is_file(), said
    said = installed.tool('test.py', 'probe.py', checkpoint, '--work-dir', 'probed')
    assert (installed.folder / 'probed/probe_results.json').is_file(), said


@pytest.mark.slow
def test_a_wheel_without_configs_says_so(installed):
    (installed.folder / 'mine.py').write_text(MINE)
    hidden = (installed.mim / 'configs').rename(installed.mim / 'hidden')
    try:
        said = installed.tool('train.py', 'mine.py')
    finally:
        hidden.rename(installed.mim / 'configs')
    assert said.startswith('train: error: nextvid_mm in ')
    assert 'came without its configs' in said
