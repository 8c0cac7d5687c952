"""Each work-around is tested twice: that it works, and that it is still needed.

The second half runs in one fresh process without :func:`nextvid_mm.compat.apply`. A failure of a
``*_is_needed`` test is good news: the release in use has been mended and the work-around can go.
"""

import importlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from processes import free_port
from torch import nn

import nextvid_mm
from nextvid_mm import compat

BARE = """
import importlib, io, json, sys, types
import torch

errors = {}

def attempt(name, function):
    try:
        function()
    except Exception as error:
        errors[name] = f'{type(error).__name__}: {error}'

def import_mmaction():
    sys.modules.pop('mmaction.models', None)
    importlib.import_module('mmaction.models')

def resolve_base():
    from mmengine.config import Config
    sys.modules['pkg_resources'] = None
    Config._get_cfg_path('mmaction::_base_/default_runtime.py', 'config.py')

def inherit_ours():
    from mmengine.config import Config
    Config._get_cfg_path('nextvid_mm::nextvid/vit-tiny_demo.py', 'config.py')

def load_history():
    from mmengine.logging import HistoryBuffer
    buffer = io.BytesIO()
    torch.save(HistoryBuffer([1.0], [1]), buffer)
    buffer.seek(0)
    torch.load(buffer)

def init_dist():
    from mmengine.dist import init_dist
    init_dist('pytorch')

attempt('drn', import_mmaction)
attempt('pkg_resources', resolve_base)
attempt('offer', inherit_ours)
attempt('history', load_history)
attempt('dist', init_dist)

# the first fault hides the second: cure the first alone
package = types.ModuleType('nextvid_mm')  # without what its __init__ does
package.__path__ = [FOLDER]
sys.modules['nextvid_mm'] = package
from nextvid_mm import compat
compat.supply_mmaction_drn()
attempt('vindlu', import_mmaction)
print(json.dumps(errors))
"""
BARE = BARE.replace('FOLDER', repr(nextvid_mm.__path__[0]))

DDP_ON_CPU = """
import nextvid_mm
import torch
from mmengine.dist import init_dist
from mmengine.model import BaseModel
from mmengine.runner import Runner

init_dist('pytorch')
from mmengine.model import MMDistributedDataParallel

class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return self.linear(inputs)

model = MMDistributedDataParallel(module=Toy(), device_ids=[0])
model(torch.ones(1, 2)).sum().backward()
print(torch.distributed.get_backend(), model.device_ids)
torch.distributed.destroy_process_group()
"""

needs_cpu_only = pytest.mark.skipif(
    torch.cuda.is_available(), reason='with a CUDA device nothing is worked around'
)


def _run(code):
    """Run ``code`` in a fresh process as rank 0 of 1 and return the last line it prints."""
    group = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, **group, 'MASTER_PORT': str(free_port())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope='module')
def errors_without():
    """What goes wrong without the work-arounds: ``{name: 'ErrorType: message'}``."""
    return json.loads(_run(BARE))


def test_apply_is_idempotent():
    from mmengine import dist

    compat.apply()
    finders, init = list(sys.meta_path), dist.utils._init_dist_pytorch
    compat.apply()
    assert sys.meta_path == finders
    assert dist.utils._init_dist_pytorch is init


LIGHT = """
import sys
import nextvid_mm
heavy = ('torch', 'numpy', 'rich', 'mmengine')
print(*[name for name in heavy if name in sys.modules], nextvid_mm.__version__)
"""
ORDER = """
import importlib.util, sys
FIRST
importlib.util.find_spec('mmengine.dist.utils')  # who only looks must not use the work-around up
import torch
import mmengine.dist
from mmengine.logging import HistoryBuffer
print(
    HistoryBuffer.__getstate__.__module__,
    HistoryBuffer in torch.serialization.get_safe_globals(),
    mmengine.utils.get_installed_path.__module__,
    mmengine.dist.utils._init_dist_pytorch.__wrapped__.__module__,
    'nextvid_mm.registry' in sys.modules,
    type(mmengine.dist.utils.__loader__).__name__,
)
"""


def test_importing_the_package_imports_no_other_library():
    assert _run(LIGHT) == nextvid_mm.__version__


@pytest.mark.parametrize(
    'first',
    ['import nextvid_mm', 'import mmengine.dist, torch, nextvid_mm', 'import torch, nextvid_mm'],
)
def test_work_arounds_are_applied_in_any_order_of_imports(first):
    said = _run(ORDER.replace('FIRST', first))
    expected = 'nextvid_mm.compat True nextvid_mm.compat mmengine.dist.utils True SourceFileLoader'
    assert said == expected


def test_mmaction_models_can_be_imported():
    models = importlib.import_module('mmaction.models')
    assert models.Recognizer3D.__module__.startswith('mmaction.')
    with pytest.raises(ImportError, match=r'DRN cannot be used: .*mmaction2#2714'):
        models.DRN()


def test_drn_stub_is_needed(errors_without):
    assert "No module named 'mmaction.models.localizers.drn'" in errors_without['drn']


@pytest.mark.skipif(
    not compat._transformers_breaks_vindlu(), reason='transformers is absent or old enough'
)
def test_vindlu_stub_is_needed(errors_without):
    assert 'apply_chunking_to_forward' in errors_without['vindlu']


@pytest.mark.parametrize(
    'base', ['mmaction::_base_/default_runtime.py', 'mmpretrain::_base_/default_runtime.py']
)
def test_base_of_another_package_without_pkg_resources(base, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {base!r}\n')
    assert Config.fromfile(path).default_scope == base.split('::')[0]


def test_package_look_up_names_what_is_missing():
    assert compat.is_installed('mmaction2')
    assert compat.is_installed('mmaction')
    assert compat.get_installed_path('mmaction2') == compat.get_installed_path('mmaction')
    assert not compat.is_installed('no-such-package')
    with pytest.raises(ModuleNotFoundError, match='no-such-package'):
        compat.get_installed_path('no-such-package')


def test_configs_of_this_package_are_inherited_without_a_mark(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'nextvid_mm::nextvid/vit-tiny_demo.py'\n")
    config = Config.fromfile(path)
    assert config.default_scope == 'nextvid_mm'
    assert '_scope_' not in config.pretty_text


def test_a_package_without_its_configs_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(compat, '_module_path', lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'came without its configs .*\.mim/configs'):
        compat.get_installed_path('nextvid_mm')


def test_offering_configs_is_needed(errors_without):
    assert 'does not support to load nextvid_mm' in errors_without['offer']


def test_package_look_up_is_needed(errors_without):
    assert 'pkg_resources' in errors_without['pkg_resources']


class _Toy(nn.Module):
    """The least a Runner can train."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def train_step(self, data, optim_wrapper):
        loss = self.linear(torch.stack(data)).square().mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss)


def _train(work_dir, max_iters, resume):
    runner = Runner(
        _Toy(),
        str(work_dir),
        train_dataloader=dict(
            dataset=list(torch.ones(4, 1)),
            sampler=dict(type='InfiniteSampler'),
            batch_size=2,
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{max_iters}',
    )
    runner.train()
    return runner


def test_runner_resumes_its_own_checkpoint_with_weights_only(tmp_path):
    first = _train(tmp_path, 2, resume=False)
    history = first.message_hub.get_scalar('train/loss').data[0]
    second = _train(tmp_path, 4, resume=True)
    resumed = second.message_hub.get_scalar('train/loss').data[0]
    assert second.iter == 4
    np.testing.assert_array_equal(resumed[: len(history)], history)


def test_buffers_written_without_the_work_around_stay_refused(tmp_path):
    theirs = HistoryBuffer([1.0], [1])
    theirs.statistics_methods = [HistoryBuffer.mean]
    torch.save({'state': vars(theirs)}, tmp_path / 'theirs.pth')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        torch.load(tmp_path / 'theirs.pth')


def test_history_work_around_is_needed(errors_without):
    assert 'HistoryBuffer' in errors_without['history']


@needs_cpu_only
def test_distributed_data_parallel_on_cpu():
    assert _run(DDP_ON_CPU) == 'gloo None'


@needs_cpu_only
def test_distributed_work_around_is_needed(errors_without):
    assert 'dist' in errors_without


def test_a_restart_of_torchrun_has_a_store_of_its_own(monkeypatch):
    from torch.distributed import TCPStore

    from nextvid_mm.compat import _store_of_attempt

    server = TCPStore('127.0.0.1', 0, is_master=True)
    server.set('address', 'of the first attempt')
    settings = dict(WORLD_SIZE='1', RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(server.port))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    assert _store_of_attempt() == {}
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    found = _store_of_attempt()
    assert (found['rank'], found['world_size']) == (0, 1)
    assert not found['store'].check(['address'])
    assert server.check(['address'])


ADVICE = """
import warnings
SETUP
with warnings.catch_warnings(record=True) as caught:
    import mmcv.cnn.bricks.transformer
print(sum('MultiScaleDeformableAttention' in str(warning.message) for warning in caught))
"""


@pytest.mark.skipif(not compat.is_installed('mmcv-lite'), reason='the full mmcv is installed')
@pytest.mark.parametrize(
    ('setup', 'warned'), [("warnings.simplefilter('always')", '1'), ('import nextvid_mm', '0')]
)
def test_advice_to_install_mmcv_is_silenced_and_would_come(setup, warned):
    assert _run(ADVICE.replace('SETUP', setup)) == warned
