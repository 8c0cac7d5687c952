"""Low-rank updates: what is trained, what is loaded, what remains when they are merged."""

import sys

import pytest
import torch
from tiny import CONFIG, clips, wake

from nextvid_mm.layers import check_state, has_lora, merged, set_recompute, with_updates
from nextvid_mm.registry import MODELS

pytest.importorskip('peft')


def encoder(**lora):
    torch.manual_seed(0)
    tuned = dict(lora=dict(rank=2, **lora))
    model = MODELS.build(dict(CONFIG['backbone'], tuned=tuned))
    model.init_weights()
    return model


def trained(**lora):
    return wake(encoder(**lora))


def plain():
    torch.manual_seed(0)
    model = MODELS.build(dict(CONFIG['backbone']))
    model.init_weights()
    return model


def test_only_updates_are_trained_and_start_from_nothing():
    model = encoder()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 4 * model.depth
    assert all('.attn.' in name and '.lora_' in name for name in names)
    assert has_lora(model)
    bare = plain()
    assert not has_lora(bare)
    state = with_updates(bare.state_dict(), model)
    check_state(state, model.state_dict(), 'x')
    model.load_state_dict(state)
    video = clips()
    assert torch.equal(model.encode(video), bare.encode(video))
    assert with_updates(bare.state_dict(), bare).keys() == bare.state_dict().keys()


@pytest.mark.parametrize('targets', [('qkv', 'proj'), ('fc1', 'fc2')])
def test_merged_weights_compute_the_same_without_peft(targets):
    model, bare = trained(targets=targets).eval(), plain().eval()
    whole = merged(model)
    check_state(whole.state_dict(), bare.state_dict(), 'x')
    bare.load_state_dict(whole.state_dict())
    video = clips()
    expected = model.encode(video)
    torch.testing.assert_close(bare.encode(video), expected, atol=1e-5, rtol=1e-5)
    updates = {n: v for n, v in model.state_dict().items() if '.lora_' in n}
    assert updates
    for value in updates.values():
        value.zero_()
    assert not torch.allclose(model.encode(video), expected, atol=1e-3)


@pytest.mark.parametrize('with_cp', ['light', 'products', True])
def test_recomputation_draws_the_same_dropout(with_cp):
    model, video, found = trained(targets=['fc1', 'fc2'], dropout=0.5), clips(), []
    for kept in (False, with_cp):
        set_recompute(model.blocks, kept)
        torch.manual_seed(0)
        loss = model.encode(video).square().mean()
        found.append(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))
    for plain_grad, grad in zip(*found, strict=True):
        torch.testing.assert_close(grad, plain_grad)


@pytest.mark.parametrize('lora', [dict(rank=0), dict(targets=['query']), dict(targets=[])])
def test_wrong_settings(lora):
    with pytest.raises(ValueError, match='rank must be at least 1, and targets some of'):
        MODELS.build(dict(CONFIG['backbone'], tuned=dict(lora=lora)))
    with pytest.raises(ValueError, match=r'dict\(lora=dict'):
        MODELS.build(dict(CONFIG['backbone'], tuned=dict(lore=lora)))


def test_without_peft_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(ImportError, match='pip install --no-deps peft accelerate psutil'):
        encoder()
