"""Fine-tuning on MMAction2's recognizer: trained, killed, continued, tested."""

import pickle
from argparse import ArgumentParser

import pytest
import torch
from finetune_run import finetune_run
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.runner import Runner
from probe_run import NUM_VAL, make_videos, save_encoder

from nextvid_mm.cli.test import add_flags, run
from nextvid_mm.config_files import runner_keys
from nextvid_mm.inferencers import Classifier, classify
from nextvid_mm.layers import has_lora
from nextvid_mm.models.checkpoints import config_text


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Data folder, encoder, and the Runner of a whole run."""
    root = make_videos(tmp_path_factory.mktemp('finetune'))
    encoder = save_encoder(root / 'encoder.pth')
    checkpoints = dict(interval=4, max_keep_ckpts=-1)
    cfg = finetune_run(root, root / 'whole', encoder, default_hooks=dict(checkpoint=checkpoints))
    runner = Runner.from_cfg(cfg)
    runner.train()
    return root, encoder, runner


def config_file(root, encoder):
    cfg = finetune_run(root, root / 'tested', encoder)
    for key in set(cfg.keys()) - runner_keys():
        cfg.pop(key)
    path = root / 'my_finetune.py'
    path.write_text(config_text(cfg))
    return str(path)


def checkpoint(root):
    return str(root / 'whole/iter_9.pth')


def tool(*words):
    parser = ArgumentParser()
    add_flags(parser)
    run(parser.parse_args([str(word) for word in words]))


def test_it_starts_from_the_encoder_and_moves_all_of_it(trained):
    _root, encoder, runner = trained
    first = torch.load(encoder, weights_only=True)['state_dict']
    moved = [
        not torch.equal(value, first[f'reference.encoder.{name}'])
        for name, value in runner.model.backbone.named_parameters()
    ]
    assert all(moved)


def test_a_resumed_run_ends_with_the_same_weights(trained):
    root, encoder, _runner = trained
    cfg = finetune_run(root, root / 'resumed', encoder)
    cfg.load_from, cfg.resume = str(root / 'whole/iter_4.pth'), True
    Runner.from_cfg(cfg).train()
    ends = [
        torch.load(next((root / name).glob('iter_9.pth')), weights_only=True)
        for name in ('whole', 'resumed')
    ]
    for part in ('state_dict', 'ema_state_dict'):
        first, second = (end[part] for end in ends)
        assert first.keys() == second.keys()
        assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_the_tool_and_mmaction2_predict_the_same(trained):
    root, encoder, _ = trained
    path, out = config_file(root, encoder), root / 'predictions.pkl'
    tool(path, checkpoint(root), '--work-dir', root / 'tested', '--dump', out)
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == NUM_VAL
    model = init_recognizer(finetune_run(root, root / 'one', None), checkpoint(root), 'cpu')
    for number, sample in enumerate(predictions):
        alone = inference_recognizer(model, str(root / f'val/{number}.mp4')).pred_score
        torch.testing.assert_close(alone, sample['pred_score'], atol=1e-5, rtol=0)
        assert alone.sum() == pytest.approx(1, abs=1e-5)


def test_an_encoder_or_another_number_of_classes_is_not_tested(trained):
    root, encoder, _ = trained
    path = config_file(root, encoder)
    with pytest.raises(ValueError, match=r'(?s)encoder.pth is no result of .*missing.*cls_head'):
        tool(path, encoder, '--work-dir', root / 'tested')
    options = ('--cfg-options', 'model.cls_head.num_classes=4')
    with pytest.raises(ValueError, match=r'(?s)iter_9.pth is no result of.*cls_head.classifier'):
        tool(path, checkpoint(root), '--work-dir', root / 'tested', *options)


def test_low_rank_updates_are_trained_tested_and_merged_into_a_folder(trained):
    """The checkpoint is loaded by the tool; the folder computes the same without peft."""
    pytest.importorskip('peft')
    root, encoder, _ = trained
    changes = {'model.backbone.tuned': 'lora'}
    runner = Runner.from_cfg(finetune_run(root, root / 'lora', encoder, **changes))
    runner.train()
    first = torch.load(encoder, weights_only=True)['state_dict']
    after = runner.model.backbone.state_dict()
    base = {n: v for n, v in after.items() if '.lora_' not in n}
    for name, value in base.items():
        plain = name.replace('.base_layer.', '.')
        assert torch.equal(value, first[f'reference.encoder.{plain}']), name
    moved = [n for n, v in after.items() if 'lora_B' in n and v.any()]
    assert len(moved) == 2 * runner.model.backbone.depth
    path, out = config_file(root, encoder), root / 'lora.pkl'
    tool(path, root / 'lora/iter_9.pth', '--work-dir', root / 'tested', '--dump', out,
         '--cfg-options', 'model.backbone.tuned=lora')  # fmt: skip
    expected = torch.stack([s['pred_score'] for s in pickle.loads(out.read_bytes())])
    cfg = finetune_run(root, root / 'tested', None, **changes)
    classifier = Classifier.from_files(cfg, root / 'lora/iter_9.pth', device='cpu')
    classifier.save_pretrained(root / 'lora_folder')
    again = Classifier.from_pretrained(root / 'lora_folder', device='cpu')
    assert not has_lora(again.model)
    videos = [root / f'val/{number}.mp4' for number in range(NUM_VAL)]
    for given in (classifier, again):
        found = torch.stack([one.scores for one in classify(given, videos, progress=False)])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
