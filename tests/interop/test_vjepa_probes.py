"""Probes in V-JEPA 2's published layout against what such a classifier computes."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from mmengine import load
from mmengine.config import Config
from mmengine.registry import DefaultScope
from probe_run import make_videos, probe_run
from published import Slab, norm_state, vit_state
from torch.nn.functional import gelu, layer_norm, linear, softmax

from nextvid_mm.cli.test import add_flags
from nextvid_mm.cli.test import run as run_test
from nextvid_mm.interop import convert
from nextvid_mm.interop.published import from_vjepa2
from nextvid_mm.layers import check_state, load_exactly
from nextvid_mm.models.checkpoints import read_checkpoint, stored_backbone
from nextvid_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
TINY = dict(width=192, depth=2, hidden=384, kernel=(3, 2, 16, 16))
PROBE_HEADS, CLASSES = 16, 5


def probe_state(width, depth, slab, prefix='module.'):
    """One classifier in the published layout."""
    cross, hidden = 'pooler.cross_attention_block.', 4 * width
    state = {'pooler.query_tokens': slab.take(1, 1, width)}
    for name, shape in (('q', width), ('kv', 2 * width)):
        state[f'{cross}xattn.{name}.weight'] = slab.take(shape, width)
        state[f'{cross}xattn.{name}.bias'] = slab.take(shape)
    places = [(cross, '')] + [(f'pooler.blocks.{n}.', 'attn') for n in range(depth - 1)]
    for place, attention in places:
        state |= norm_state(f'{place}norm1', width, slab) | norm_state(f'{place}norm2', width, slab)
        linears = {'mlp.fc1': (hidden, width), 'mlp.fc2': (width, hidden)}
        if attention:
            linears |= {'attn.qkv': (3 * width, width), 'attn.proj': (width, width)}
        for name, shape in linears.items():
            state[f'{place}{name}.weight'] = slab.take(*shape)
            state[f'{place}{name}.bias'] = slab.take(shape[0])
    state |= {'linear.weight': slab.take(CLASSES, width), 'linear.bias': slab.take(CLASSES)}
    return {prefix + name: value for name, value in state.items()}


def classify(state, tokens):
    """What a published classifier makes of tokens ``(B, N, C)``."""
    state = {name.removeprefix('module.'): value for name, value in state.items()}

    def layer(x, name):
        return linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    def normed(x, name):
        return layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], 1e-5)

    def attend(q, k, v):
        q, k, v = (x.unflatten(-1, (PROBE_HEADS, -1)).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return (softmax(scores, -1) @ v).transpose(1, 2).flatten(2)

    def mlp(x, name):
        return layer(gelu(layer(x, f'{name}mlp.fc1')), f'{name}mlp.fc2')

    number = 0
    while (block := f'pooler.blocks.{number}.') + 'norm1.weight' in state:
        qkv = layer(normed(tokens, f'{block}norm1'), f'{block}attn.qkv')
        tokens = tokens + layer(attend(*qkv.chunk(3, -1)), f'{block}attn.proj')
        tokens = tokens + mlp(normed(tokens, f'{block}norm2'), block)
        number += 1
    cross = 'pooler.cross_attention_block.'
    query = state['pooler.query_tokens'].expand(len(tokens), -1, -1)
    keys, values = layer(normed(tokens, f'{cross}norm1'), f'{cross}xattn.kv').chunk(2, -1)
    pooled = query + attend(layer(query, f'{cross}xattn.q'), keys, values)
    pooled = pooled + mlp(normed(pooled, f'{cross}norm2'), cross)
    return layer(pooled, 'linear')[:, 0]


def with_probes(folder, count=20, depth=4, width=192):
    slab = Slab(4, size=1 << 22)
    encoder, probes = folder / 'encoder.pt', folder / 'probes.pt'
    state = vit_state(**TINY, slab=slab) | norm_state('norm', 192, slab)
    state = {f'module.backbone.{name}': value for name, value in state.items()}
    torch.save(dict(target_encoder=state), encoder)
    states = [probe_state(width, depth, slab) for _ in range(count)]
    torch.save(dict(classifiers=states, epoch=20, opt=None), probes)
    return encoder, probes, states


def test_released_probes_become_a_probe_of_ours(tmp_path):
    """Logits of every member are the published classifier's, in the order of the config's grid."""
    encoder, file, states = with_probes(tmp_path)
    from_vjepa2(encoder, probe=file).save(tmp_path / 'out.pth')
    checkpoint = read_checkpoint(tmp_path / 'out.pth')
    cfg = Config.fromfile(ROOT / 'configs/probe/others/vjepa2_ssv2.py')
    head = dict(cfg.model.cls_head, num_classes=CLASSES)
    backbone = stored_backbone(checkpoint)
    model = MODELS.build(dict(cfg.model, cls_head=head, backbone=backbone, _scope_='nextvid_mm'))
    load_exactly(model, checkpoint['state_dict'], 'the probe')
    tokens = torch.randn(2, 7, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.cls_head(tokens)
    for number, member in enumerate(model.cls_head.members):
        place = [0.01, 0.1, 0.4, 0.8].index(member.weight_decay) * 5
        place += [5e-3, 3e-3, 1e-3, 3e-4, 1e-4].index(member.lr)
        expected = classify(states[place], tokens)
        torch.testing.assert_close(logits[:, number], expected, atol=1e-4, rtol=1e-4)
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 1e-3
    assert 'encoder.pt, target_encoder' in model.origin.path


def test_probes_of_another_depth_or_width_are_refused(tmp_path):
    encoder, file, _ = with_probes(tmp_path, count=2, depth=1)
    converted = from_vjepa2(encoder, probe=file)
    converted.save(tmp_path / 'out.pth')
    assert converted.probes[0]['pool']['depth'] == 1
    assert len(converted.probes[0]['lrs']) == 2
    cfg = Config.fromfile(ROOT / 'configs/probe/others/vjepa2_ssv2.py')
    checkpoint = read_checkpoint(tmp_path / 'out.pth')
    head = dict(cfg.model.cls_head, num_classes=CLASSES, lrs=[1.0, 2.0], weight_decays=[0.0])
    model = MODELS.build(dict(
        cfg.model, cls_head=head, backbone=stored_backbone(checkpoint), _scope_='nextvid_mm',
    ))  # fmt: skip
    with pytest.raises(ValueError, match=r'(?s)out.pth.*missing .*cls_head.probes.blocks'):
        check_state(checkpoint['state_dict'], model.state_dict(), 'out.pth')
    encoder, file, _ = with_probes(tmp_path, count=1, width=96)
    with pytest.raises(ValueError, match=r'probes.pt are 96 channels wide, their encoder is 192'):
        from_vjepa2(encoder, probe=file)
    with pytest.raises(ValueError, match=r'encoder.pt holds no list of probes under classifiers'):
        from_vjepa2(encoder, probe=encoder)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda p: p[1].pop('module.linear.bias'), r'probe 1 in .*\s+missing \(1\): classifier.b'),
        (lambda p: p[1].update(probe_state(192, 2, Slab(5, 1 << 22))), r'probe 1 .*\s+unexpected'),
        (lambda p: [q.update(rest=torch.ones(1)) for q in p], r'the probes.*\s+.* \(1\): rest'),
        (lambda p: p[0].pop('module.linear.weight'), r'probe 0 in .* no tensor linear.weight'),
    ],
)
def test_probes_that_differ_or_hold_more_are_refused(tmp_path, spoil, message):
    encoder, file, states = with_probes(tmp_path, count=2, depth=1)
    spoil(states)
    torch.save(dict(classifiers=states), file)
    with pytest.raises(ValueError, match=message):
        from_vjepa2(encoder, probe=file).save(tmp_path / 'out.pth')


def test_the_tool_says_how_to_test_them(tmp_path):
    encoder, file, _ = with_probes(tmp_path)
    lines = convert('vjepa2', 'nextvid', encoder, tmp_path / 'out.pth', probe=file)
    assert '20 probes of 5 classes' in lines
    assert lines[-1].endswith(f'vjepa2_DATASET.py {tmp_path}/out.pth')


def test_released_probes_are_tested_by_the_tool(tmp_path):
    """From the two published files to accuracies of all twenty, and a dump."""
    encoder, file, _ = with_probes(tmp_path)
    convert('vjepa2', 'nextvid', encoder, tmp_path / 'probe.pth', probe=file)
    make_videos(tmp_path / 'data')
    base = Config.fromfile(ROOT / 'configs/probe/others/vjepa2_ssv2.py')
    run = probe_run(tmp_path / 'data', tmp_path / 'out')
    model = dict(base.model, num_segments=1, data_preprocessor=run.model.data_preprocessor)
    run.model = dict(model, cls_head=dict(base.model.cls_head, num_classes=CLASSES), dtype=None)
    (tmp_path / 'tiny.py').write_text(run.pretty_text)
    flags = argparse.ArgumentParser()
    add_flags(flags)
    dump = tmp_path / 'dump.pkl'
    arguments = [tmp_path / 'tiny.py', tmp_path / 'probe.pth', '--dump', dump]
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        run_test(flags.parse_args([*map(str, arguments), '--work-dir', str(tmp_path / 'out')]))
    record = json.loads((tmp_path / 'out/probe_results.json').read_text())
    assert record['split'] == 'test'
    assert len(record['members']) == 20
    predictions = load(dump)
    assert len(predictions) == record['num_samples'] > 0
    assert predictions[0]['pred_score'].shape == (CLASSES,)
