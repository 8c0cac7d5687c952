"""ImageNet fine-tuning on MMPretrain's classifier: a step that trains, a test, a prediction."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from probe_run import PlainConfig, save_encoder
from tiny import CONFIG, SIZE

from nextvid_mm.inferencers import Classifier, classify
from nextvid_mm.registry import build_runner

FILE = Path(__file__).resolve().parents[2] / 'configs/finetune/in1k.py'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Three classes of eight pictures each, and a run of two epochs."""
    root = tmp_path_factory.mktemp('images')
    draw = np.random.default_rng(0)
    lines = []
    for number in range(24):
        pixels = draw.integers(0, 80, (40, 50, 3)) + 80 * (number % 3)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f'{number}.png')
        lines.append(f'{number}.png {number % 3}')
    (root / 'list.txt').write_text('\n'.join(lines))
    cfg = PlainConfig(Config.fromfile(FILE).to_dict())
    tiny = {k: v for k, v in CONFIG['backbone'].items() if k != 'type'}
    cfg.model.backbone.update(tiny)
    cfg.model.backbone.init_cfg.checkpoint = save_encoder(root / 'encoder.pth')
    cfg.model.head.update(in_channels=24, num_classes=3)
    cfg.model.data_preprocessor.num_classes = 3
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=8)
        loader.dataset.dataset = dict(
            type='mmpretrain.CustomDataset', data_prefix=str(root), ann_file=str(root / 'list.txt')
        )
        for step in loader.dataset.pipeline:
            if 'crop_size' in step or step['type'].endswith('RandomResizedCrop'):
                step['crop_size' if 'crop_size' in step else 'scale'] = SIZE
            elif step['type'].endswith('ResizeEdge'):
                step['scale'] = SIZE + 4
    cfg.merge_from_dict(
        dict(
            work_dir=str(root / 'run'),
            experiment_name='images',
            train_cfg=dict(max_epochs=2, val_interval=2),
            val_evaluator=dict(topk=(1, 2)),
            test_evaluator=dict(topk=(1, 2)),
            log_level='WARNING',
        )
    )
    cfg.visualizer.vis_backends = []
    cfg.param_scheduler = None
    runner = build_runner(cfg)
    runner.train()
    return root, cfg, runner


def test_encoder_and_head_move(trained):
    root, _, runner = trained
    assert runner.iter == 6
    first = torch.load(root / 'encoder.pth', weights_only=True)['state_dict']
    for name, value in runner.model.backbone.named_parameters():
        assert not torch.equal(value, first[f'reference.encoder.{name}']), name
    assert runner.message_hub.get_scalar('train/loss').current() > 0


def test_pictures_are_classified_by_the_result(trained, tmp_path):
    root, cfg, runner = trained
    (path,) = (root / 'run').glob('iter_6.pth')
    paths = [root / f'{number}.png' for number in range(5)]
    classifier = Classifier.from_files(cfg, path, device='cpu')
    classifier.save_pretrained(tmp_path / 'folder')
    again = Classifier.from_pretrained(tmp_path / 'folder', device='cpu')
    # The average, which is what validation has seen.
    runner.model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    expected = []
    for batch in runner.val_dataloader:
        with torch.no_grad():
            expected += runner.model.eval().val_step(batch)
    expected = torch.stack([one.pred_score for one in expected])[:5]
    for given in (classifier, again):
        found = torch.stack([one.scores for one in classify(given, paths, progress=False)])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
