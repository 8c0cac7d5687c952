import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nextvid_mm.layers.attentive_pool import AttentiveProbes, RunningStandardizer

B, N, C, H, K = 3, 7, 16, 4, 5


def linear(x, layer, g):
    return F.linear(x, layer.weight[g], None if layer.bias is None else layer.bias[g])


def norm(x, layer, g, eps):
    return F.layer_norm(x, (C,), layer.weight[g], layer.bias[g], eps=eps)


def split(x):
    return x.unflatten(-1, (H, C // H)).transpose(1, 2)


def after_blocks(probes, g, tokens):
    """Tokens after member ``g``'s self-attention blocks."""
    for block in probes.blocks:
        qkv = linear(norm(tokens, block.norm1, g, probes.eps), block.qkv, g)
        read = F.scaled_dot_product_attention(*map(split, qkv.chunk(3, dim=-1)))
        tokens = tokens + linear(read.transpose(1, 2).flatten(2), block.proj, g)
        hidden = F.gelu(linear(norm(tokens, block.norm2, g, probes.eps), block.fc1, g))
        tokens = tokens + linear(hidden, block.fc2, g)
    return tokens


def plain_probe(probes: AttentiveProbes, g: int, tokens: torch.Tensor) -> torch.Tensor:
    """Member ``g`` written the usual way: keys and values of every token, then attention."""
    x = norm(after_blocks(probes, g, tokens), probes.norm_tokens, g, probes.eps)
    query = probes.query[g].expand(len(tokens), 1, C)
    q, k, v = (
        split(linear(y, layer, g))
        for y, layer in ((query, probes.to_query), (x, probes.to_key), (x, probes.to_value))
    )
    read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    y = query + (read if probes.proj is None else linear(read, probes.proj, g))
    if probes.fc1 is not None:
        hidden = F.gelu(linear(norm(y, probes.norm_pooled, g, probes.eps), probes.fc1, g))
        y = y + linear(hidden, probes.fc2, g)
    return linear(y, probes.classifier, g)[:, 0]


@pytest.fixture(
    params=[{}, dict(mlp_ratio=0.0), dict(depth=3, output_proj=False, eps=1e-5, init='vjepa')],
    ids=['mlp', 'no mlp', 'as V-JEPA 2'],
)
def probes(request):
    probes = AttentiveProbes(C, K, H, num_members=3, **request.param).double()
    for parameter in probes.parameters():
        nn.init.normal_(parameter, std=0.5)
    return probes


@pytest.mark.parametrize('init', ['xavier', 'vjepa'])
def test_members_start_alike_or_each_with_its_own_weights(init):
    torch.manual_seed(3)
    alike = AttentiveProbes(C, K, H, num_members=3, depth=2, init=init)
    torch.manual_seed(3)
    apart = AttentiveProbes(C, K, H, num_members=3, depth=2, init=init, same_start=False)
    drawn = 0
    for one, other in zip(alike.parameters(), apart.parameters(), strict=True):
        assert torch.equal(one[0], one[1])
        assert torch.equal(one[0], one[2])
        # The first draw is the same; biases at 0 and norms are no draws.
        assert torch.equal(one[0], other[0])
        if other[0].unique().numel() > 1:
            assert not torch.equal(other[0], other[1])
            assert not torch.equal(other[1], other[2])
            drawn += 1
    assert drawn >= 8


def test_equals_plain_cross_attention_in_outputs_and_gradients(probes):
    tokens = torch.randn(B, N, C, dtype=torch.float64)
    ours = probes(tokens)
    plain = torch.stack([plain_probe(probes, g, tokens) for g in range(3)], dim=1)
    torch.testing.assert_close(ours, plain)
    weights = torch.randn_like(ours)
    parameters = list(probes.parameters())
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), parameters),
        torch.autograd.grad((plain * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_members_do_not_touch_each_other(probes):
    tokens = torch.randn(B, N, C, dtype=torch.float64)
    before = probes(tokens)
    gradients = torch.autograd.grad(before[:, 1].sum(), list(probes.parameters()))
    assert all(g[0].abs().sum() == 0 and g[2].abs().sum() == 0 for g in gradients)
    with torch.no_grad():
        for parameter in probes.parameters():
            parameter[1] = torch.nan
    after = probes(tokens)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert after[:, 1].isnan().all()


def test_members_start_equal_whatever_their_number():
    torch.manual_seed(3)
    alone = AttentiveProbes(C, K, H, num_members=1)
    torch.manual_seed(3)
    grid = AttentiveProbes(C, K, H, num_members=4)
    for single, stacked in zip(alone.parameters(), grid.parameters(), strict=True):
        assert all(torch.equal(single[0], member) for member in stacked)


def test_a_token_order_does_not_matter():
    probes = AttentiveProbes(C, K, H)
    tokens = torch.randn(B, N, C)
    torch.testing.assert_close(probes(tokens), probes(tokens[:, torch.randperm(N)]))


def test_reads_bfloat16_tokens():
    probes = AttentiveProbes(C, K, H, num_members=2)
    tokens = torch.randn(B, N, C)
    logits = probes(tokens.bfloat16())
    torch.testing.assert_close(logits.float(), probes(tokens), atol=0.03, rtol=0.1)


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match='num_heads=5 does not divide'):
        AttentiveProbes(C, K, 5)
    with pytest.raises(ValueError, match='num_members=0'):
        AttentiveProbes(C, K, H, num_members=0)


def test_attention_is_that_of_the_plain_probe(probes):
    tokens = torch.randn(B, N, C, dtype=torch.double)
    attention = probes.attention(tokens)
    assert attention.shape == (B, 3, H, N)
    g = 1
    x = norm(after_blocks(probes, g, tokens), probes.norm_tokens, g, probes.eps)
    query = F.linear(probes.query[g], probes.to_query.weight[g], probes.to_query.bias[g])
    key = F.linear(x, probes.to_key.weight[g])
    scores = torch.einsum('hd,bnhd->bhn', query.view(H, -1), key.unflatten(-1, (H, -1)))
    expected = (scores / (C // H) ** 0.5).softmax(-1)
    assert torch.allclose(attention[:, g], expected, atol=1e-10)


def test_fit_standardises_every_channel():
    features = torch.randn(20, 6, 4) * torch.tensor([1.0, 5.0, 0.1, 30.0]) + 7
    standardizer = RunningStandardizer(4)
    standardizer.fit(features)
    out = standardizer(features).flatten(0, 1)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


def test_running_statistics_equal_those_of_all_batches_together():
    batches = [torch.randn(n, 5, 3) * (n + 1) + n for n in (2, 7, 4)]
    running, whole = RunningStandardizer(3), RunningStandardizer(3)
    for batch in batches:
        running(batch)
    whole.fit(torch.cat(batches))
    torch.testing.assert_close(running.mean, whole.mean)
    torch.testing.assert_close(running.var, whole.var)
    assert running.count == 13 * 5


def test_statistics_change_in_training_only_and_never_after_fit():
    standardizer = RunningStandardizer(3)
    standardizer.eval()(torch.randn(8, 3) + 5)
    assert standardizer.count == 0
    standardizer.fit(torch.randn(8, 3))
    before = standardizer.mean.clone()
    standardizer.train()(torch.randn(8, 3) + 5)
    assert torch.equal(standardizer.mean, before)


def test_state_survives_a_checkpoint():
    standardizer, other = RunningStandardizer(3), RunningStandardizer(3)
    standardizer.fit(torch.randn(8, 3) * 4)
    other.load_state_dict(standardizer.state_dict())
    features = torch.randn(5, 3)
    assert torch.equal(other.train()(features), standardizer(features))


def test_keeps_the_type():
    assert RunningStandardizer(3)(torch.randn(8, 3).bfloat16()).dtype == torch.bfloat16


def test_first_weights_as_in_vjepa():
    torch.manual_seed(0)
    C, depth = 64, 4
    probes = AttentiveProbes(C, K, 4, num_members=2, depth=depth, output_proj=False, init='vjepa')
    # The trunk: truncated normal of 0.02, the ends of residual branches by 1 / sqrt(2 n), the
    # cross-attention's MLP like that of the third block.
    spreads = {'to_query': 0.02, 'to_key': 0.02, 'to_value': 0.02, 'fc1': 0.02}
    spreads |= {f'blocks.{n}.{name}': 0.02 for n in range(3) for name in ('qkv', 'fc1')}
    spreads |= {
        f'blocks.{n}.{name}': 0.02 / (2 * (n + 1)) ** 0.5
        for n in range(3)
        for name in ('proj', 'fc2')
    }
    spreads['fc2'] = 0.02 / 6**0.5
    for name, spread in spreads.items():
        linear = probes.get_submodule(name)
        assert linear.weight[0].std().item() == pytest.approx(spread, rel=0.1), name
        assert torch.equal(linear.weight[0], linear.weight[1])
        assert linear.bias is None or not linear.bias.any()
    # The classifier: PyTorch's default.
    assert probes.classifier.weight.abs().max().item() == pytest.approx(C**-0.5, rel=0.05)
    assert probes.classifier.weight[0].std().item() == pytest.approx((3 * C) ** -0.5, rel=0.15)
    assert probes.classifier.bias.any()
    shallow = AttentiveProbes(C, K, 4, init='vjepa').fc2.weight
    assert shallow.std().item() == pytest.approx(0.02 / 2**0.5, rel=0.1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(depth=0), 'AttentiveProbes.depth=0 must be a whole number'),
        (dict(init='normal'), "init='normal' .* vjepa"),
    ],
)
def test_wrong_keys_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AttentiveProbes(C, K, H, **changes)
