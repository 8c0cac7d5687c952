"""wandb and MLflow: the calls that they take, and the real ones where they are installed."""

import os
import re
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.visualization import Visualizer
from noise_training import train_tiny

from nextvid_mm.registry import SCOPE, VISBACKENDS
from nextvid_mm.visualization import GenerationVisHook

PICTURE = np.zeros((4, 6, 3), np.uint8)
CONFIG = Config(
    dict(
        work_dir='.',
        model=dict(type='NextVid', masks=[dict(ratio=0.5), dict(ratio=0.25)], sizes=(1, 2)),
        mixed=[dict(a=1), 'word'],
        long='x' * 7000,
    )
)


def _backend(kind, folder, **settings):
    return VISBACKENDS.build(dict(type=kind, _scope_=SCOPE, save_dir=str(folder), **settings))


class Wandb(SimpleNamespace):
    """Holds what it is given; has the functions that releases of today have, and no others."""

    def __init__(self):
        calls = []
        run = SimpleNamespace(log_code=lambda name: None)
        super().__init__(
            calls=calls,
            init=lambda **settings: calls.append(('init', settings)),
            define_metric=lambda **settings: calls.append(('define_metric', settings)),
            log=lambda content, commit: calls.append(('log', content)),
            finish=lambda: calls.append(('finish',)),
            Image=lambda array: ('image', array.shape),
            config=SimpleNamespace(update=lambda *a, **k: calls.append(('config',))),
            run=run,
        )


class MLflow(SimpleNamespace):
    """Checks names, values and endings as MLflow does."""

    def __init__(self):
        calls = []
        super().__init__(
            calls=calls,
            set_tracking_uri=lambda uri: calls.append(('uri', uri)),
            get_experiment_by_name=lambda name: None,
            create_experiment=lambda name, artifact_location: None,
            set_experiment=lambda name: calls.append(('experiment', name)),
            log_text=lambda text, name: calls.append(('text', name)),
            log_artifact=lambda path, folder: None,
            end_run=lambda: calls.append(('end',)),
        )

    def log_params(self, params):
        assert all(len(value) <= 500 for value in params.values())
        self.calls.append(('params', params))

    def log_metric(self, name, value, step):
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics, step):
        assert all(re.fullmatch(r'[\w\-. /:]+', name) for name in metrics)
        self.calls.append(('metrics', {k: float(v) for k, v in metrics.items()}, step))

    def log_image(self, image, artifact_file):
        assert artifact_file.endswith('.png'), 'MLflow knows the format by the ending'
        self.calls.append(('image', artifact_file))


def test_wandb_counts_optimiser_steps(monkeypatch, tmp_path):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    backend = _backend('WandbVisBackend', tmp_path, init_kwargs=dict(mode='offline'))
    backend.add_scalar('loss', 0.5, step=7)
    backend.add_scalars(dict(loss=0.25, lr=1e-3), step=8)
    backend.add_image('generated', PICTURE, step=8)
    backend.close()
    assert wandb.calls == [
        ('init', dict(mode='offline', dir=str(tmp_path))),
        ('define_metric', dict(name='*', step_metric='step')),
        ('log', dict(loss=0.5, step=7)),
        ('log', dict(loss=0.25, lr=1e-3, step=8)),
        ('log', dict(generated=('image', PICTURE.shape), step=8)),
        ('finish',),
    ]


def test_mlflow_takes_pictures_and_configs(monkeypatch, tmp_path):
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, 'mlflow', mlflow)
    monkeypatch.setattr(os, 'environ', {})
    backend = _backend('MLflowVisBackend', tmp_path)
    backend.add_config(Config(dict(CONFIG, work_dir=str(tmp_path))))
    backend.add_scalar('online_probe/knn_encoder', 50.0, step=2)
    backend.add_image('generated', PICTURE, step=2)
    backend.close()
    found = dict(call[:2] for call in mlflow.calls if len(call) > 1)
    assert os.environ == {'MLFLOW_ALLOW_FILE_STORE': 'true'}
    assert found['uri'] == f'file://{tmp_path}'
    assert found['params']['model.masks.1.ratio'] == '0.25'
    assert found['params']['mixed.1'] == 'word'
    assert found['image'] == 'generated_00000002.png'
    assert mlflow.calls[-1] == ('end',)


@pytest.mark.parametrize(('kind', 'module'), [('Wandb', Wandb), ('MLflow', MLflow)])
def test_a_training_with_a_tracker(monkeypatch, tmp_path, kind, module):
    tracker = module()
    monkeypatch.setitem(sys.modules, kind.lower(), tracker)
    backends = [dict(type='LocalVisBackend'), dict(type=f'{kind}VisBackend')]
    changes = {'visualizer': dict(type='Visualizer', vis_backends=backends)}
    train_tiny(tmp_path, GenerationVisHook(interval=2, clips=1, num_steps=1), **changes)
    said = repr(tracker.calls)
    assert 'loss_flow' in said
    assert 'generated' in said


@pytest.mark.parametrize('kind', ['wandb', 'mlflow'])
def test_a_tracker_that_is_not_installed(monkeypatch, tmp_path, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    name = dict(wandb='WandbVisBackend', mlflow='MLflowVisBackend')[kind]
    with pytest.raises(ImportError, match=f'pip install {kind}'):
        _backend(name, tmp_path).add_scalar('loss', 1.0)


def test_a_server_that_does_not_answer(monkeypatch, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]  # free, once it is closed
    monkeypatch.setitem(sys.modules, 'mlflow', MLflow())
    backend = _backend('MLflowVisBackend', tmp_path, tracking_uri=f'http://me:pw@127.0.0.1:{port}')
    with pytest.raises(ConnectionError) as found:
        backend.add_scalar('loss', 1.0)
    text = str(found.value)
    assert text.startswith("MLflowVisBackend: no server answers at tracking_uri='http://127.0.0.1:")
    assert 'leave tracking_uri out' in text
    assert '\n' not in text


def test_a_server_that_answers(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'mlflow', MLflow())
    with socket.create_server(('127.0.0.1', 0)) as server:
        uri = f'http://127.0.0.1:{server.getsockname()[1]}'
        _backend('MLflowVisBackend', tmp_path, tracking_uri=uri).add_scalar('loss', 1.0)
    assert ('uri', uri) in sys.modules['mlflow'].calls


def test_wandb_without_an_account(monkeypatch, tmp_path):
    wandb = Wandb()

    def refuse(**settings):
        raise RuntimeError('api_key not configured (no-tty).\nCall wandb.login(key=[your_api_key])')

    wandb.init = refuse
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    with pytest.raises(ConnectionError, match=r"api_key not configured.*mode='offline'") as found:
        _backend('WandbVisBackend', tmp_path).add_scalar('loss', 1.0)
    assert '\n' not in str(found.value)


def test_real_mlflow_in_a_folder(tmp_path):
    mlflow = pytest.importorskip('mlflow')
    backend = _backend('MLflowVisBackend', tmp_path / 'mlruns', exp_name='nextvid')
    backend.add_config(Config(dict(CONFIG, work_dir=str(tmp_path))))
    backend.add_scalar('loss', 0.5, step=1)
    backend.add_image('generated', PICTURE, step=1)
    run = mlflow.active_run().info.run_id
    backend.close()
    assert mlflow.get_run(run).data.metrics == {'loss': 0.5}
    assert list((tmp_path / 'mlruns').rglob('generated_00000001.png'))


def test_real_wandb_offline(tmp_path):
    pytest.importorskip('wandb')
    backend = _backend('WandbVisBackend', tmp_path, init_kwargs=dict(mode='offline'))
    visualizer = Visualizer(name='wandb')
    visualizer._vis_backends = dict(wandb=backend)
    visualizer.add_scalars(dict(loss=0.5), step=1)
    visualizer.add_image('generated', PICTURE, step=1)
    visualizer.close()
    assert list(tmp_path.rglob('*.wandb'))
    assert list(tmp_path.rglob('generated*.png'))
