"""Encoders that are not ours, for clips and for frames: probe, features, evaluation and report."""

import json

import pytest
import torch
from probe_run import make_videos, probe_run, save_encoder
from tiny import CONFIG, SIZE
from toy_training import ToyRunner
from transformers import Dinov2Config, Dinov2Model, ViTImageProcessor

from nextvid_mm.cli import main
from nextvid_mm.inferencers import FeatureStore

OWN = """
from torch import nn

from nextvid_mm.models.backbones import AdaptedEncoder
from nextvid_mm.registry import MODELS


@MODELS.register_module(force=True)
class OwnVideoEncoder(AdaptedEncoder):
    def __init__(self, init_cfg=None):
        super().__init__(nn.Conv3d(3, 6, (2, 4, 4), (2, 4, 4)), 6, 16, 4, 2, source='my weights')

    def tokens(self, pixels):
        return self.network(pixels).flatten(2).transpose(1, 2)
"""
TABLE = ['--data', 'toy.py', '--protocols', 'knn', 'attentive', '--seeds', '0', '--device', 'cpu']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos, a module with an encoder, a folder of transformers, a probe config for each."""
    path = tmp_path_factory.mktemp('any')
    make_videos(path / 'data')
    (path / 'own_encoder.py').write_text(OWN)
    shape = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**shape, patch_size=4, image_size=SIZE)).save_pretrained(path / 'dino')
    ViTImageProcessor(do_resize=False).save_pretrained(path / 'dino')
    for name, backbone in (
        ('video', dict(type='OwnVideoEncoder')),
        ('image', dict(type='TransformersEncoder', path=str(path / 'dino'))),
        ('toy', None),
    ):
        cfg = probe_run(path / 'data', path, **{'train_cfg.max_epochs': 1})
        cfg.train_cfg.val_interval = 1
        cfg.model.backbone, cfg.custom_imports = backbone, dict(imports=['own_encoder'])
        for key in ('work_dir', 'experiment_name'):
            cfg.pop(key)
        (path / f'{name}.py').write_text(cfg.pretty_text)
    return path


@pytest.fixture
def work_dir(tmp_path):
    """A run that has logged a step."""
    (tmp_path / '1/vis_data').mkdir(parents=True)
    (tmp_path / '1/vis_data/scalars.json').write_text('{"loss": 1.0, "step": 1}\n')
    stage = dict(name='a', steps=2, lr=0.1, tau_samples=1, num_frames=4, batch_size=2)
    (tmp_path / 'config.py').write_text(f'train_cfg = dict(stages=[{stage!r}])\n')
    return tmp_path


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv('LOCAL_RANK', '0')
    # Asking the system for its compilers takes longer than all else.
    monkeypatch.setattr('mmengine.runner.Runner._log_env', ToyRunner._log_env)


def tool(*words):
    main(words[0], list(map(str, words[1:])))


@pytest.mark.parametrize(
    ('name', 'source', 'width', 'rows'), [('video', 'my weights', 6, 6), ('image', 'dino', 24, 12)]
)
def test_probe_features_and_report(root, work_dir, name, source, width, rows):
    tool('train', f'{name}.py', '--work-dir', f'probe_{name}', '--seed', 0)
    record = json.loads((root / f'probe_{name}/probe_results.json').read_text())
    assert record['encoder']['path'].endswith(source)
    flags = '--fps', 0, '--num-frames', 8, '--out', f'features_{name}', '--device', 'cpu'
    tool('extract_features', f'{name}.py', 'data/val/0.mp4', *flags)
    features = FeatureStore(root / f'features_{name}')['data/val/0.mp4'].features
    assert features.shape == (rows, width)
    tool('report', work_dir, '--probe-results', f'probe_{name}/probe_results.json')
    page = (work_dir / 'report.html').read_text()
    assert f'{source} (encoder)' in page
    assert f'{record["top1"]:.1f}' in page


def test_one_table(root):
    tool('evaluate', 'own=video.py', 'dino', *TABLE)
    entries = json.loads((root / 'work_dirs/evaluate/evaluation.json').read_text())['entries']
    found = {(entry['encoder'], entry['protocol']) for entry in entries}
    assert found == {(row, kind) for row in ('own', 'dino') for kind in ('knn', 'attentive')}
    assert all(0 <= entry['mean'] <= 100 for entry in entries)


def test_patches_that_do_not_divide_the_clips_are_said(root):
    backbone = dict(
        type='CausalViT', arch=dict(embed_dims=24, depth=1, num_heads=2, mlp_ratio=2.0),
        img_size=15, patch_size=5,
    )  # fmt: skip
    targets = dict(type='PixelTarget', patch_size=5)
    decoder = dict(CONFIG['head']['decoder'], target_channels=2 * 3 * 5**2)
    head = dict(CONFIG['head'], decoder=decoder)
    save_encoder(root / 'five.pth', backbone=backbone, target_generator=targets, head=head)
    for words, said in (
        (('test', 'toy.py', 'five.pth', '--work-dir', 'five'), 'does not divide into patches of'),
        (('evaluate', 'five.pth', *TABLE), 'five is made for 15 x 15 px, but the clips of toy are'),
        (('evaluate', 'five.pth', *TABLE, '--interpolate'), 'does not divide into patches of'),
    ):
        with pytest.raises(SystemExit, match=said) as end:
            tool(*words)
        assert '\n' not in end.value.code
