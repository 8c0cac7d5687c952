"""Attentive probes, a whole grid of them at the price of little more than one; standardisation.

A probe pools tokens with one learnable query (cross-attention, then an MLP) and classifies the
result. Because the query does not depend on the input, neither keys nor values need to be computed
per token: with one query ``q`` per head, ``q · (W_k x) = (W_kᵀ q) · x``, and as attention weights
sum to one, ``Σ a (W_v x + b) = W_v (Σ a x) + b``. All members then share the two products that
touch every token, which are ``heads`` channels wide per member instead of ``2 * C``.

Shape legend: B clips, N tokens, C channels, G members, H heads, D channels per head, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from .attention import check_heads

EPS = 1e-6


class AttentiveProbes(nn.Module):
    """``num_members`` independent attentive probes over the same tokens.

    Every parameter is stacked along a first dimension of ``num_members``. All members start equal,
    and no operation mixes them, so that each learns what it would learn alone.

    Args:
        in_channels: channels of the tokens.
        num_classes: outputs of the linear layer.
        num_heads: attention heads; must divide ``in_channels``.
        mlp_ratio: hidden width of the MLP over ``in_channels``; 0 for no MLP.
        num_members: probes trained side by side.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_members: int = 1,
    ):
        super().__init__()
        check_heads(in_channels, num_heads)
        if num_members < 1:
            raise ValueError(f'num_members={num_members} of AttentiveProbes must be at least 1')
        self.in_channels, self.num_heads, self.num_members = in_channels, num_heads, num_members
        G, C = num_members, in_channels
        self.query = nn.Parameter(torch.empty(G, C))
        self.norm_tokens = StackedNorm(G, C)
        self.to_query = StackedLinear(G, C, C)
        # A bias on the keys would shift all scores of a head alike and cancel in the softmax.
        self.to_key = StackedLinear(G, C, C, bias=False)
        self.to_value = StackedLinear(G, C, C)
        self.proj = StackedLinear(G, C, C)
        hidden = round(C * mlp_ratio)
        self.norm_pooled: Any = StackedNorm(G, C) if hidden else None
        self.fc1: Any = StackedLinear(G, C, hidden) if hidden else None
        self.fc2: Any = StackedLinear(G, hidden, C) if hidden else None
        self.classifier = StackedLinear(G, C, num_classes)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw one probe's weights and give them to every member."""
        for module in self.modules():
            if isinstance(module, StackedLinear):
                module.reset_parameters()
        for parameter, std in ((self.query, 0.02), (self.classifier.weight, 0.01)):
            parameter.copy_(nn.init.trunc_normal_(torch.empty_like(parameter[0]), std=std))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C) -> (B, G, K)`` logits."""
        pooled = self.query[:, None] + self.proj(self._attend(tokens))
        if self.fc1 is not None:
            hidden = F.gelu(self.fc1(self.norm_pooled(pooled)))
            pooled = pooled + self.fc2(hidden)
        return self.classifier(pooled).transpose(0, 1)

    def attention(self, tokens: Tensor) -> Tensor:
        """How much each head of each member reads from every token, ``(B, G, H, N)``."""
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=EPS)
        return self._weights(normed).unflatten(1, (self.num_members, self.num_heads))

    def _weights(self, normed: Tensor) -> Tensor:
        """Attention ``(B, G * H, N)`` on normalised tokens."""
        G, H, C = self.num_members, self.num_heads, self.in_channels
        query = self.to_query(self.query[:, None]).view(G, H, 1, -1)
        key_weight = self.to_key.weight.view(G, H, -1, C)
        # The norm's weight is folded into the query; its bias cancels in the softmax.
        folded = (
            query * query.shape[-1] ** -0.5 @ key_weight * self.norm_tokens.weight[:, None, None]
        )
        scores = folded.view(G * H, C).to(normed.dtype) @ normed.transpose(1, 2)
        precise = torch.promote_types(scores.dtype, torch.float32)
        return scores.softmax(dim=-1, dtype=precise).to(normed.dtype)

    def _attend(self, tokens: Tensor) -> Tensor:
        """What each member's query reads from the tokens, ``(G, B, C)``."""
        B, _, C = tokens.shape
        G, H = self.num_members, self.num_heads
        normed = F.layer_norm(tokens, (C,), eps=EPS)
        read = (self._weights(normed) @ normed).view(B, G * H, C).transpose(0, 1)
        # The norm's affine map is folded into the values' weights: applied to `read`, it would
        # pass over H times as many numbers as there are values.
        weight, bias = self.norm_tokens.weight, self.norm_tokens.bias
        value_weight = (self.to_value.weight * weight[:, None]).view(G * H, -1, C)
        shift = self.to_value.bias + (self.to_value.weight @ bias[..., None])[..., 0]
        read = read.to(value_weight.dtype)  # tokens may be of a shorter type than the weights
        values = (read @ value_weight.transpose(-1, -2)).view(G, H, B, -1)
        return values.transpose(1, 2).reshape(G, B, C) + shift[:, None]


class StackedLinear(nn.Module):
    """One linear layer per member.

    Args:
        num_members: layers.
        in_features: input channels.
        out_features: output channels.
        bias: add a bias.
    """

    def __init__(self, num_members: int, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_members, out_features, in_features))
        self.bias: Any = nn.Parameter(torch.empty(num_members, out_features)) if bias else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw one layer's weights (Xavier uniform, bias 0) and give them to every member."""
        self.weight.copy_(nn.init.xavier_uniform_(torch.empty_like(self.weight[0])))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(G, B, C_in) -> (G, B, C_out)``."""
        weight = self.weight.transpose(1, 2)
        return x @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], x, weight)


class StackedNorm(nn.Module):
    """LayerNorm over channels with one affine map per member.

    Args:
        num_members: layers.
        channels: normalised channels.
    """

    def __init__(self, num_members: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_members, channels))
        self.bias = nn.Parameter(torch.zeros(num_members, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(G, B, C) -> (G, B, C)``."""
        normed = F.layer_norm(x, x.shape[-1:], eps=EPS)
        return torch.addcmul(self.bias[:, None], normed, self.weight[:, None])


class RunningStandardizer(nn.Module):
    """Subtracts the mean and divides by the standard deviation of every channel.

    The statistics are those of all features seen in training mode so far, over all processes,
    and used alike in training and evaluation. ``fit`` sets them once and for all.

    Args:
        channels: C.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('var', torch.ones(channels))
        self.register_buffer('count', torch.zeros((), dtype=torch.float64))
        self.register_buffer('frozen', torch.zeros((), dtype=torch.bool))

    def fit(self, features: Tensor, rows: int = 256) -> None:
        """Take the statistics of ``(n, ..., C)`` and keep them.

        Args:
            features: may lie on another device, or in a mapped file larger than the memory.
            rows: of n read at once.
        """
        self.count.zero_()
        for part in features.split(rows):
            self._update(part.to(self.mean.device))
        self.frozen.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Standardise ``(..., C)``; the type stays."""
        if self.training and not self.frozen:
            self._update(features)
        scale = (self.var + self.eps).rsqrt()
        return (features * scale - self.mean * scale).to(features.dtype)

    @torch.no_grad()
    def _update(self, features: Tensor) -> None:
        """Merge the statistics of a batch with those so far (Chan et al., 1979)."""
        count, mean, var = _moments(features.flatten(0, -2).float())
        total = self.count + count
        share = (count / total).to(mean.dtype)
        shift = mean - self.mean
        self.var.lerp_(var, share).add_(shift.square() * share * (1 - share))
        self.mean.add_(shift * share)
        self.count.copy_(total)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance of ``(rows, C)`` over the rows of all processes."""
    count = torch.tensor(float(rows.shape[0]), dtype=torch.float64, device=rows.device)
    var, mean = torch.var_mean(rows, dim=0, correction=0)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        sums = torch.stack([mean.double(), var.double() + mean.double().square()]) * count
        dist.all_reduce(sums)
        dist.all_reduce(count)
        mean, second = sums / count
        var = (second - mean.square()).clamp(min=0).float()
        mean = mean.float()
    return count, mean, var
