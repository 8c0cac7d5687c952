"""Gradients added in place, and the types and groups of every kind of device."""

import pytest
import torch
from dense import autoregressive_mask, dense_attention
from torch._subclasses import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

from nextvid_mm.layers import prefix, prefix_attention, sdpa
from nextvid_mm.layers.prefix import BFLOAT16_CPU, GPU, PLAIN_CPU, attend_to_prefixes

FRAMES, NQ, NK = 5, 6, 4


def inputs(dtype=torch.float32):
    """Queries, keys and values, and the gradient of the output."""
    torch.manual_seed(0)
    sizes = (FRAMES * NQ, FRAMES * NK, FRAMES * NK, FRAMES * NQ)
    *leaves, grad = (torch.randn(2, 3, size, 16, dtype=dtype) for size in sizes)
    return [leaf.requires_grad_() for leaf in leaves], grad


def with_gradients(function, leaves, grad):
    out = function(*leaves)
    return out, *torch.autograd.grad(out, leaves, grad.to(out.dtype))


@pytest.mark.parametrize('way', [PLAIN_CPU, BFLOAT16_CPU, GPU])
def test_every_way_equals_a_dense_mask_within_the_precision_of_its_types(monkeypatch, way):
    monkeypatch.setattr(prefix, 'way_of', lambda x: way)
    leaves, grad = inputs()
    mask = autoregressive_mask(FRAMES, NQ, NK)
    exact = with_gradients(lambda *qkv: dense_attention(*qkv, mask), leaves, grad)
    found = with_gradients(lambda *qkv: prefix_attention(*qkv, FRAMES), leaves, grad)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-5)
    halves = [leaf.detach().bfloat16().requires_grad_() for leaf in leaves]
    with torch.autocast('cpu', torch.bfloat16):
        found = with_gradients(lambda *qkv: prefix_attention(*qkv, FRAMES), halves, grad)
    by_kernel = way.dtype or torch.bfloat16
    assert found[0].dtype == (torch.bfloat16 if way.products else by_kernel)
    for a, b in zip(found, exact, strict=True):
        # 2 % of what is typical: three roundings to eight bits.
        assert (a - b).norm() < 0.02 * b.norm()


def test_autocast_and_the_device_decide_the_type(monkeypatch):
    monkeypatch.setattr(prefix, 'way_of', lambda x: BFLOAT16_CPU)
    (q, k, v), _ = inputs(torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        assert prefix_attention(q, k, v, FRAMES).dtype == torch.bfloat16
        assert sdpa(q, k, v).dtype == torch.bfloat16
        mask = autoregressive_mask(FRAMES, NQ, NK)
        assert sdpa(q, k, v, mask).dtype == torch.float32, 'a mask of pairs takes the kernel'
    with torch.autocast('cpu', torch.float16), torch.no_grad():
        assert sdpa(q.half(), k.half(), v.half()).dtype == torch.float32, 'no type for a CPU'
    assert sdpa(q, k, v).dtype == torch.bfloat16, 'without autocast all is as given'


def test_no_gradient_of_full_size_is_filled_for_each_frame():
    leaves, grad = inputs()

    def filled(function):
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
            torch.autograd.grad(function(), leaves, grad)
        return sum(event.name == 'aten::slice_backward' for event in seen.events())

    def slices():
        q, k, v = leaves
        return torch.cat(
            [
                sdpa(
                    q[:, :, t * NQ : (t + 1) * NQ], k[:, :, : (t + 1) * NK], v[:, :, : (t + 1) * NK]
                )
                for t in range(FRAMES)
            ],
            dim=2,
        )

    assert filled(slices) >= FRAMES
    assert not filled(lambda: attend_to_prefixes(*leaves, FRAMES, 1))


@pytest.fixture
def capability(monkeypatch):
    """A function that sets the capability of all GPUs, and the list of those that were asked."""
    asked = []

    def give(*version):
        def answer(device):
            asked.append(device)
            return version

        prefix._capability.cache_clear()
        monkeypatch.setattr(torch.cuda, 'get_device_capability', answer)
        return asked

    yield give
    prefix._capability.cache_clear()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_kernel_of_cuda_is_called_as_it_wants(capability, dtype):
    """Shapes and arguments only: fake tensors have no data, and need no GPU."""
    capability(8, 0)
    with FakeTensorMode():
        q = torch.empty(2, 3, 6, 16, dtype=dtype, device='cuda')
        k = torch.empty(2, 3, 4, 16, dtype=dtype, device='cuda')
        assert prefix.has_kernel(q, k, k, dtype)
        out, *kept = prefix._forward(q, k, k, None)
        assert out.shape == q.shape
        grads = prefix._backward(out, q, k, k, out, *kept, mask=None)
        assert [grad.shape for grad in grads] == [q.shape, k.shape, k.shape]


@pytest.mark.parametrize(('version', 'has'), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_a_gpu_without_the_kernel_is_not_asked_for_it(capability, version, has):
    asked = capability(*version)
    with FakeTensorMode():
        q = torch.empty(2, 3, 6, 16, dtype=torch.float16, device='cuda', requires_grad=True)
        for _ in range(3):
            assert prefix.has_kernel(q, q, q, torch.float16) is has
        out = attend_to_prefixes(q, q, q, 2, 1)
        assert ('_Prefixes' in out.grad_fn.name()) is has
    assert len(asked) == 1


def test_the_question_for_the_kernel_does_not_cut_a_compiled_block(capability):
    capability(7, 5)
    gpu = torch.device('cuda:0')

    def block(x):
        return x + 1 if prefix._has_flash(gpu) else x - 1

    assert torch.compile(block, backend='eager', fullgraph=True)(torch.zeros(())) == -1


def test_groups_follow_the_device_and_are_alike(monkeypatch):
    x = torch.zeros(1)
    for way, groups in ((PLAIN_CPU, [7, 1, 1]), (BFLOAT16_CPU, [4, 1, 1]), (GPU, [1, 1, 1])):
        monkeypatch.setattr(prefix, 'way_of', lambda _, way=way: way)
        assert [prefix.group_of(x, tokens, 7) for tokens in (10, 200, 400)] == groups
