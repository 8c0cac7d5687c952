"""Attentive probes, a whole grid of them at the price of little more than one; standardisation.

A probe pools tokens with one learnable query (cross-attention, then an MLP) and classifies the
result. Because the query does not depend on the input, neither keys nor values need to be computed
per token: with one query ``q`` per head, ``q · (W_k x) = (W_kᵀ q) · x``, and as attention weights
sum to one, ``Σ a (W_v x + b) = W_v (Σ a x) + b``. All members then share the two products that
touch every token, which are ``heads`` channels wide per member instead of ``2 * C``.

V-JEPA 2 (arXiv 2506.09985) puts self-attention blocks over the tokens before that. Then nothing is
shared: members go one by one, and their tokens are computed again in the backward pass.

Shape legend: B clips, N tokens, C channels, G members, H heads, D channels per head, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nextvid_mm.checks import check_count

from .attention import check_heads, sdpa

INITS = ('xavier', 'vjepa')


class AttentiveProbes(nn.Module):
    """``num_members`` independent attentive probes over the same tokens.

    Every parameter is stacked along a first dimension of ``num_members``. No operation mixes the
    members: each learns what it would learn alone.

    Args:
        in_channels: channels of the tokens.
        num_classes: outputs of the linear layer.
        num_heads: attention heads; must divide ``in_channels``.
        mlp_ratio: hidden width of the MLP over ``in_channels``; 0 for no MLP.
        num_members: probes trained side by side.
        depth: layers of a probe: the cross-attention, and ``depth - 1`` self-attention blocks over
            the tokens before it (V-JEPA 2: 4).
        output_proj: project what the heads of the cross-attention have read (V-JEPA: not).
        eps: of all norms (V-JEPA: 1e-5).
        init: ``xavier`` (uniform), or ``vjepa``: truncated normal of 0.02, the last linear of each
            residual branch scaled down with its depth, PyTorch's default for the classifier.
        same_start: all members start with the same weights (V-JEPA 2: each with its own).

    Raises:
        ValueError: for a number below 1, an unknown ``init``, or heads that do not divide the
            channels.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_members: int = 1,
        depth: int = 1,
        output_proj: bool = True,
        eps: float = 1e-6,
        init: str = 'xavier',
        same_start: bool = True,
    ):
        super().__init__()
        check_heads(in_channels, num_heads)
        for name, value in (('num_members', num_members), ('depth', depth)):
            check_count(value, f'AttentiveProbes.{name}')
        if init not in INITS:
            raise ValueError(f'init={init!r} of AttentiveProbes is not one of {", ".join(INITS)}')
        self.in_channels, self.num_heads, self.num_members = in_channels, num_heads, num_members
        self.depth, self.eps, self.init, self.same_start = depth, eps, init, same_start
        G, C = num_members, in_channels
        self.query = nn.Parameter(torch.empty(G, C))
        self.norm_tokens = StackedNorm(G, C, eps)
        self.to_query = StackedLinear(G, C, C)
        # A bias on the keys would shift all scores of a head alike and cancel in the softmax.
        self.to_key = StackedLinear(G, C, C, bias=False)
        self.to_value = StackedLinear(G, C, C)
        self.proj: Any = StackedLinear(G, C, C) if output_proj else None
        hidden = round(C * mlp_ratio)
        self.norm_pooled: Any = StackedNorm(G, C, eps) if hidden else None
        self.fc1: Any = StackedLinear(G, C, hidden) if hidden else None
        self.fc2: Any = StackedLinear(G, hidden, C) if hidden else None
        self.classifier = StackedLinear(G, C, num_classes)
        blocks = (StackedBlock(G, C, num_heads, hidden or 4 * C, eps) for _ in range(depth - 1))
        self.blocks = nn.ModuleList(blocks)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the first weights of all members."""
        drawn = []
        for _ in range(1 if self.same_start else self.num_members):
            self._draw()
            drawn.append([parameter[0].clone() for parameter in self.parameters()])
        for parameter, *own in zip(self.parameters(), *drawn, strict=True):
            parameter.copy_(torch.stack(own))

    def _draw(self) -> None:
        """Draw one probe's weights and give them to every member."""
        for module in self.modules():
            if isinstance(module, StackedLinear):
                module.reset_parameters(self.init)
        if self.init == 'vjepa':
            last: list[tuple] = [(block.proj, block.fc2) for block in self.blocks]
            last.append(() if self.fc2 is None else (self.fc2,))
            for place, linears in enumerate(last):
                # The cross-attention counts as deep as the block before it, as published.
                depth = min(place, max(self.depth - 2, 0)) + 1
                for linear in linears:
                    linear.weight.div_((2.0 * depth) ** 0.5)
        self.query.copy_(nn.init.trunc_normal_(torch.empty_like(self.query[0]), std=0.02))
        weight, bias = self.classifier.weight, self.classifier.bias
        if self.init == 'xavier':
            weight.copy_(nn.init.trunc_normal_(torch.empty_like(weight[0]), std=0.01))
            return
        bound = self.in_channels**-0.5  # PyTorch's default of a linear layer
        for parameter in (weight, bias):
            parameter.copy_(nn.init.uniform_(torch.empty_like(parameter[0]), -bound, bound))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C) -> (B, G, K)`` logits."""
        read = self._attend(tokens) if self.depth == 1 else self._attend_deeply(tokens)
        pooled = self.query[:, None] + (read if self.proj is None else self.proj(read))
        if self.fc1 is not None:
            hidden = F.gelu(self.fc1(self.norm_pooled(pooled)))
            pooled = pooled + self.fc2(hidden)
        return self.classifier(pooled).transpose(0, 1)

    def attention(self, tokens: Tensor) -> Tensor:
        """How much each head of each member reads from every token, ``(B, G, H, N)``."""
        if self.depth == 1:
            return self._weights(self._normed(tokens)).unflatten(1, (self.num_members, -1))
        members = range(self.num_members)
        parts = [self._weights(self._normed(self._deepen(tokens, g)), g) for g in members]
        return torch.stack(parts, dim=1)

    def _normed(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:], eps=self.eps)

    def _deepen(self, tokens: Tensor, g: int) -> Tensor:
        """Tokens ``(B, N, C)`` after member ``g``'s self-attention blocks."""
        for block in self.blocks:
            tokens = block(tokens, g)
        return tokens

    def _attend_deeply(self, tokens: Tensor) -> Tensor:
        """As ``_attend``, with self-attention before."""

        def one(tokens: Tensor, g: int) -> Tensor:
            return self._attend(self._deepen(tokens, g), g)

        members = range(self.num_members)
        if not torch.is_grad_enabled():
            return torch.cat([one(tokens, g) for g in members])
        return torch.cat([checkpoint(one, tokens, g, use_reentrant=False) for g in members])

    def _weights(self, normed: Tensor, g: int | None = None) -> Tensor:
        """Attention ``(B, G * H, N)`` on normalised tokens; of member ``g`` alone if given."""
        chosen = slice(g, None if g is None else g + 1)
        H, C = self.num_heads, self.in_channels
        query = self.to_query(self.query[:, None])[chosen]
        query = query.view(len(query), H, 1, -1)
        key_weight = self.to_key.weight[chosen].view(len(query), H, -1, C)
        # The norm's weight is folded into the query; its bias cancels in the softmax.
        folded = (
            query * query.shape[-1] ** -0.5 @ key_weight
            * self.norm_tokens.weight[chosen][:, None, None]
        )  # fmt: skip
        # One product for each clip: a single one of all would leave the scores transposed.
        rows = folded.view(1, -1, C).to(normed.dtype).expand(len(normed), -1, -1)
        scores = rows @ normed.transpose(1, 2)
        precise = torch.promote_types(scores.dtype, torch.float32)
        return scores.to(precise).softmax(dim=-1).to(normed.dtype)

    def _attend(self, tokens: Tensor, g: int | None = None) -> Tensor:
        """What each member's query reads from the tokens, ``(G, B, C)``; ``g`` alone if given."""
        B, _, C = tokens.shape
        chosen = slice(g, None if g is None else g + 1)
        H, G = self.num_heads, self.num_members if g is None else 1
        normed = self._normed(tokens)
        read = (self._weights(normed, g) @ normed).view(B, G * H, C).transpose(0, 1)
        # The norm's affine map is folded into the values' weights: applied to `read`, it would
        # pass over H times as many numbers as there are values.
        weight, bias = self.norm_tokens.weight[chosen], self.norm_tokens.bias[chosen]
        value, offset = self.to_value.weight[chosen], self.to_value.bias[chosen]
        value_weight = (value * weight[:, None]).view(G * H, -1, C)
        shift = offset + (value @ bias[..., None])[..., 0]
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
    def reset_parameters(self, init: str = 'xavier') -> None:
        """Draw one layer's weights (see ``AttentiveProbes``), bias 0, for every member."""
        weight = torch.empty_like(self.weight[0])
        if init == 'vjepa':
            self.weight.copy_(nn.init.trunc_normal_(weight, std=0.02))
        else:
            self.weight.copy_(nn.init.xavier_uniform_(weight))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(G, B, C_in) -> (G, B, C_out)``."""
        weight = self.weight.transpose(1, 2)
        return x @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], x, weight)

    def of(self, x: Tensor, g: int) -> Tensor:
        """Member ``g``'s layer of ``(..., C_in)``."""
        return F.linear(x, self.weight[g], None if self.bias is None else self.bias[g])


class StackedNorm(nn.Module):
    """LayerNorm over channels with one affine map per member.

    Args:
        num_members: layers.
        channels: normalised channels.
        eps: added to the variance.
    """

    def __init__(self, num_members: int, channels: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_members, channels))
        self.bias = nn.Parameter(torch.zeros(num_members, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(G, B, C) -> (G, B, C)``."""
        normed = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.bias[:, None], normed, self.weight[:, None])

    def of(self, x: Tensor, g: int) -> Tensor:
        """Member ``g``'s norm of ``(..., C)``."""
        return F.layer_norm(x, x.shape[-1:], self.weight[g], self.bias[g], self.eps)


class StackedBlock(nn.Module):
    """Self-attention and MLP, pre-norm, once per member.

    Args:
        num_members: blocks.
        channels: of the tokens.
        num_heads: attention heads.
        hidden: width of the MLP.
        eps: of the norms.
    """

    def __init__(self, num_members: int, channels: int, num_heads: int, hidden: int, eps: float):
        super().__init__()
        G, C = num_members, channels
        self.num_heads = num_heads
        self.norm1, self.norm2 = StackedNorm(G, C, eps), StackedNorm(G, C, eps)
        self.qkv, self.proj = StackedLinear(G, C, 3 * C), StackedLinear(G, C, C)
        self.fc1, self.fc2 = StackedLinear(G, C, hidden), StackedLinear(G, hidden, C)

    def forward(self, x: Tensor, g: int) -> Tensor:
        """Tokens ``(B, N, C)`` through member ``g``'s block."""
        qkv = self.qkv.of(self.norm1.of(x, g), g).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = x + self.proj.of(sdpa(q, k, v).transpose(1, 2).flatten(2), g)
        return x + self.fc2.of(F.gelu(self.fc1.of(self.norm2.of(x, g), g)), g)


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
