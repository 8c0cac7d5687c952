"""A grid of attentive probes trained at once on the same frozen features.

Shape legend: B clips, V spatial views, N tokens, C channels, G members of the grid, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from mmaction.models.heads import BaseHead
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional as F

from nextvid_mm.layers import check_dtype, resolve_dtype
from nextvid_mm.layers.attentive_pool import AttentiveProbes, RunningStandardizer
from nextvid_mm.registry import MODELS

POOL_KEYS = ('depth', 'output_proj', 'eps', 'init', 'same_start')


class ProbeMember(NamedTuple):
    """Optimisation settings of one probe of the grid."""

    lr: float
    weight_decay: float

    @property
    def name(self) -> str:
        """How logs and results call it."""
        return f'lr{self.lr:g}_wd{self.weight_decay:g}'


@MODELS.register_module()
class ProbeHead(BaseHead):
    """Attentive probes, one for every pair of learning rate and weight decay.

    The loss is the sum of the members' losses; ``ProbeOptimWrapperConstructor`` gives each member
    its own learning rate and weight decay, so that each ends with the weights it would have when
    trained alone. ``pred_score`` and ``pred_label``, which the tools of MMAction2 read, are of
    one member: ``fixed_member`` until a validation has selected the best.

    Args:
        num_classes: classes.
        in_channels: channels of the encoder's tokens.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP after the attention, over ``in_channels``; 0 for none.
        lrs: peak learning rates of the grid.
        weight_decays: weight decays of the grid.
        fixed_member: ``(lr, weight_decay)`` of the member that is reported besides the best;
            None takes the middle of both lists.
        standardize: standardise each channel over all training features before the probes.
        pool: further keys of ``AttentiveProbes``: ``depth``, ``output_proj``, ``eps``, ``init``,
            ``same_start``.
        dtype: autocast type of the probes: None for float32, ``bfloat16``, ``float16`` (whose
            gradients are not scaled), or ``auto``.
        label_smooth_eps: label smoothing.
        topk: accuracies logged in training, of the fixed member.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        lrs: Sequence[float] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
        weight_decays: Sequence[float] = (0.01, 0.1, 0.4, 0.8),
        fixed_member: Sequence[float] | None = None,
        standardize: bool = True,
        pool: dict | None = None,
        dtype: str | None = None,
        label_smooth_eps: float = 0.0,
        topk: int | tuple[int, ...] = (1, 5),
        init_cfg: dict | None = None,
    ):
        super().__init__(
            num_classes,
            in_channels,
            loss_cls=dict(type='mmaction.CrossEntropyLoss'),
            label_smooth_eps=label_smooth_eps,
            topk=topk,
            average_clips='prob',
            init_cfg=init_cfg,
        )
        check_dtype(dtype, 'model.cls_head.dtype')
        self.dtype = dtype
        self.members = build_grid(lrs, weight_decays)
        self.fixed_member = find_member(self.members, fixed_member, lrs, weight_decays)
        self.standardizer = RunningStandardizer(in_channels) if standardize else None
        if unknown := set(pool or {}) - set(POOL_KEYS):
            raise ValueError(
                f'pool of ProbeHead has the unknown keys {sorted(unknown)}; it may have '
                f'{", ".join(POOL_KEYS)}'
            )
        self.probes = AttentiveProbes(
            in_channels, num_classes, num_heads, mlp_ratio, len(self.members), **pool or {}
        )
        self.register_buffer('selected', torch.tensor(self.fixed_member))

    def init_weights(self) -> None:
        """Start anew, then load ``init_cfg`` if there is one.

        First weights follow from the run's seed alone, whatever encoder was initialised before.
        """
        torch.manual_seed(torch.initial_seed())
        self.reset_parameters()
        super().init_weights()

    def reset_parameters(self) -> None:
        """Draw the probes' first weights and forget which was the best."""
        self.probes.reset_parameters()
        self.selected.fill_(self.fixed_member)

    def select(self, member: int) -> None:
        """Make a member of the grid the one whose predictions are the head's."""
        self.selected.fill_(member)

    def forward(self, feats: Tensor) -> Tensor:
        """Tokens ``(B, N, C)`` to logits ``(B, G, K)``."""
        if self.standardizer is not None:
            feats = self.standardizer(feats)
        dtype = resolve_dtype(self.dtype, feats.device)
        with torch.autocast(feats.device.type, dtype, enabled=dtype is not None):
            return self.probes(feats)

    def loss(self, feats: Tensor, data_samples: list[BaseDataElement], **kwargs: Any) -> dict:
        """Sum of the members' losses, and the fixed member's accuracy.

        Args:
            feats: ``(B, N, C)``.
            data_samples: one per clip, with ``gt_label`` or, after batch blending, a soft label.
            kwargs: passed to ``forward``.
        """
        labels = torch.stack([sample.gt_label for sample in data_samples]).to(feats.device)
        if labels.shape[1] == 1:
            labels = labels[:, 0]
        return self.loss_by_feat(self(feats, **kwargs), labels)

    def loss_by_feat(self, cls_scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of logits ``(B, G, K)`` for labels ``(B,)`` or soft labels ``(B, K)``."""
        logits = cls_scores.float()
        per_member = [
            F.cross_entropy(member, labels, label_smoothing=self.label_smooth_eps)
            for member in logits.unbind(1)
        ]
        losses = dict(loss_cls=torch.stack(per_member).sum())
        with torch.no_grad():
            hard = labels if labels.dim() == 1 else labels.argmax(1)
            for k in self.topk:
                k = min(k, self.num_classes)
                best = logits[:, self.fixed_member].topk(k).indices
                losses[f'top{k}_acc'] = (best == hard[:, None]).any(1).float().mean()
        return losses

    def predict(
        self, feats: Sequence[Tensor], data_samples: list[BaseDataElement], **kwargs: Any
    ) -> list[BaseDataElement]:
        """Class probabilities, averaged over views.

        Args:
            feats: V tensors ``(B, N, C)``, one per spatial view; of an iterator, only one
                view is held at a time.
            data_samples: one per clip.
            kwargs: passed to ``forward``.

        Returns:
            The samples with ``pred_score`` ``(K,)`` and ``pred_label`` ``(1,)`` of one member and
            ``view_scores`` ``(V, G, K)`` of all.
        """
        scores = torch.stack([self(view, **kwargs).float().softmax(-1) for view in feats], dim=1)
        return self.predict_by_feat(scores, data_samples)

    def predict_by_feat(
        self, cls_scores: Tensor, data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        """Write probabilities ``(B, V, G, K)`` into the samples."""
        names = [member.name for member in self.members]
        for sample, scores in zip(data_samples, cls_scores, strict=True):
            merged = scores.mean(0)[self.selected]
            sample.set_pred_score(merged)
            sample.set_pred_label(merged.argmax(-1, keepdim=True))
            sample.set_field(scores, 'view_scores')
            sample.set_field(names, 'probe_members', field_type='metainfo')
            sample.set_field(self.fixed_member, 'fixed_member', field_type='metainfo')
        return data_samples


def build_grid(lrs: Sequence[float], weight_decays: Sequence[float]) -> list[ProbeMember]:
    """All pairs of learning rate and weight decay.

    Raises:
        ValueError: for an empty list, a negative number or an entry given twice.
    """
    for name, values in (('lrs', lrs), ('weight_decays', weight_decays)):
        if not values or min(values) < 0 or len(set(values)) != len(values):
            raise ValueError(
                f'{name}={list(values)} of ProbeHead must be a non-empty list of different '
                'numbers >= 0'
            )
    return [ProbeMember(float(lr), float(wd)) for lr, wd in product(lrs, weight_decays)]


def find_member(
    members: Sequence[ProbeMember],
    wanted: Sequence[float] | None,
    lrs: Sequence[float],
    weight_decays: Sequence[float],
) -> int:
    """Index of a member; None asks for the middle of both lists.

    Raises:
        ValueError: if the grid has no such member.
    """
    if wanted is None:
        wanted = lrs[(len(lrs) - 1) // 2], weight_decays[(len(weight_decays) - 1) // 2]
    member = ProbeMember(*map(float, wanted))
    if member not in members:
        raise ValueError(
            f'fixed_member={tuple(wanted)} of ProbeHead is not in the grid of lrs={list(lrs)} and '
            f'weight_decays={list(weight_decays)}'
        )
    return members.index(member)
