"""Probes and fine-tuned models behind MMAction2's own functions, on files without labels."""

import copy
import pickle
from argparse import ArgumentParser

import mmaction.registry
import mmpretrain
import pytest
import torch
from finetune_run import finetune_run
from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.apis.inferencers import ActionRecogInferencer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from probe_run import NUM_VAL, make_videos, probe_run, save_encoder, train

from nextvid_mm.cli.test import add_flags, run
from nextvid_mm.config_files import runner_keys
from nextvid_mm.inferencers import Classifier, classify
from nextvid_mm.models.checkpoints import config_text


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """Config file, checkpoint, videos and the scores of ``tools/test.py --dump``, by kind."""
    root = make_videos(tmp_path_factory.mktemp('apis'))
    encoder = save_encoder(root / 'encoder.pth')
    train(root, root / 'probe', **{'model.encoder': encoder})
    Runner.from_cfg(finetune_run(root, root / 'finetuned', encoder)).train()
    found = {}
    for kind, cfg, file in (
        ('probe', probe_run(root, root / 'out'), 'probe/probe.pth'),
        ('finetuned', finetune_run(root, root / 'out', None), 'finetuned/iter_9.pth'),
    ):
        cfg.model.pop('_scope_', None)
        if kind == 'probe':
            del cfg.model['backbone']
        config, dumped = root / f'my_{kind}.py', root / f'{kind}.pkl'
        for key in set(cfg.keys()) - runner_keys():
            cfg.pop(key)
        config.write_text(config_text(cfg))
        tool(config, root / file, '--work-dir', root / 'out', '--dump', dumped)
        scores = torch.stack([s['pred_score'] for s in pickle.loads(dumped.read_bytes())])
        found[kind] = str(config), str(root / file), scores
    return root, found


def tool(*words):
    parser = ArgumentParser()
    add_flags(parser)
    run(parser.parse_args([str(word) for word in words]))


def build_others():
    """Models of the sibling libraries, each leaving its scope behind."""
    init_default_scope('mmaction')
    mmaction.registry.MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='ResNet3d', depth=18, pretrained=None),
            cls_head=dict(type='I3DHead', num_classes=2, in_channels=512),
        )
    )
    init_default_scope('mmpretrain')
    mmpretrain.registry.MODELS.build(dict(type='VisionTransformer', arch='deit-t'))


@pytest.mark.parametrize('kind', ['probe', 'finetuned'])
def test_scores_are_those_of_the_test_tool(results, kind):
    root, found = results
    config, checkpoint, expected = found[kind]
    videos = [str(root / f'val/{number}.mp4') for number in range(NUM_VAL)]
    build_others()
    model = init_recognizer(config, checkpoint, device='cpu')
    build_others()
    alone = torch.stack([inference_recognizer(model, video).pred_score for video in videos])
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)
    assert len(expected.argmax(1).unique()) > 1
    classifier = Classifier.from_files(Config.fromfile(config), checkpoint, device='cpu')
    folder = root / f'folder_{kind}'
    classifier.save_pretrained(folder)
    build_others()
    for given in (classifier, Classifier.from_pretrained(folder, device='cpu')):
        answers = classify(given, videos, batch_size=3, progress=False)
        ours = torch.stack([answer.scores for answer in answers])
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
        again = torch.stack([inference_recognizer(given.model, v).pred_score for v in videos[:2]])
        torch.testing.assert_close(again, expected[:2], atol=1e-5, rtol=0)
    build_others()
    pytest.importorskip('decord', reason='their inferencer opens all files with it')
    inferencer = ActionRecogInferencer(config, checkpoint, device='cpu')
    build_others()
    answers = inferencer(videos, batch_size=1)['predictions']
    scores = torch.tensor([answer['pred_scores'] for answer in answers])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_a_probe_of_another_encoder_is_refused(results):
    _, found = results
    config, checkpoint, _ = found['probe']
    content = torch.load(checkpoint, weights_only=True)
    other = copy.copy(content['state_dict'])
    other['_extra_state'] = torch.tensor(
        list(bytes(other['_extra_state'].tolist()).replace(b'CausalViT', b'os.system')),
        dtype=torch.uint8,
    )
    path = checkpoint + '.foreign'
    torch.save(dict(content, state_dict=other), path)
    with pytest.raises(ValueError, match=r"'os.system' in its config is no registered component"):
        init_recognizer(config, path, device='cpu')
