"""What a machine lacks is said with what to do."""

import os
import shutil
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from nextvid_mm import environment
from nextvid_mm.environment import BAD, GOOD, WARNING, checkpoint_bytes, findings, tested_versions


def found(name, *arguments):
    (finding,) = (finding for finding in findings(*arguments) if finding.name == name)
    return finding


def test_this_machine_runs_the_tests():
    assert found('Python').verdict == GOOD
    assert found('torch').verdict == GOOD
    assert {'mmengine', 'torch', 'numpy'} <= set(tested_versions())
    assert all(finding.fix for finding in findings() if finding.verdict != GOOD)


def test_another_version_is_named_with_the_tested_one(monkeypatch):
    monkeypatch.setattr(environment, 'tested_versions', lambda: {'torch': '1.0'})
    assert found('torch').verdict == WARNING
    assert 'pip install torch==1.0' in found('torch').fix


def test_too_many_workers_and_too_little_shared_memory(monkeypatch):
    config = dict(train_dataloader=dict(num_workers=4000))
    assert 'lower train_dataloader.num_workers=4000' in found('cores', config).fix
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=2**20))
    assert found('shared memory', config).verdict == BAD
    assert '--shm-size' in found('shared memory', config).fix


def test_a_disk_too_small_for_the_checkpoints(monkeypatch):
    config = Config.fromfile('configs/nextvid/vit-tiny_demo.py')
    need = checkpoint_bytes(config)
    assert 3 * 4e6 < need < 1e9
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=need - 1))
    said = found('disk', dict(config.items()))
    assert said.verdict == BAD
    assert 'give another --work-dir' in said.fix


@pytest.mark.skipif(os.geteuid() == 0, reason='the administrator may write everywhere')
def test_a_folder_that_cannot_be_written():
    assert found('disk', {}, '/proc/absent').verdict == BAD
