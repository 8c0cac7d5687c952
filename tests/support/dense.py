"""The slow, obvious versions of the three attention patterns: one boolean matrix each."""

import torch
from torch.nn.functional import softmax


def frames_of(num_frames, tokens_per_frame):
    """Frame number of every token."""
    return torch.arange(num_frames).repeat_interleave(tokens_per_frame)


def causal_mask(num_frames, n):
    frame = frames_of(num_frames, n)
    return frame[:, None] >= frame[None, :]


def autoregressive_mask(num_frames, nq, nk):
    """Queries of frames 1..T against the context of frames 0..T-1: strictly earlier frames only."""
    query = frames_of(num_frames, nq) + 1
    context = frames_of(num_frames, nk)
    return query[:, None] > context[None, :]


def isolated_mask(num_frames, n):
    frame = frames_of(num_frames, n)
    return frame[:, None] == frame[None, :]


def dense_attention(q, k, v, mask):
    """softmax(q k^T / sqrt(d)) v over the pairs that ``mask`` allows, written out."""
    scores = torch.einsum('bhqd,bhkd->bhqk', q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, float('-inf'))
    return torch.einsum('bhqk,bhkd->bhqd', softmax(scores, dim=-1), v)


def split_heads(x, num_heads):
    """``(B, T, N, C) -> (B, h, T * N, D)``."""
    B, T, N, _ = x.shape
    return x.reshape(B, T * N, num_heads, -1).transpose(1, 2)


def assert_same_with_gradients(fast, slow, inputs, tolerance=1e-10):
    """Outputs and gradients of two functions of the same tensors agree."""
    weight = None
    results = []
    for function in (fast, slow):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        output = function(*leaves)
        if weight is None:
            weight = torch.randn_like(output)
        gradients = torch.autograd.grad((output * weight).sum(), leaves)
        results.append((output, *gradients))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
