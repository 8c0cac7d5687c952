"""A classifier of clips for fine-tuning.

Shape legend: B clips, C channels, T time steps, H and W patches, K classes.
"""

from __future__ import annotations

from typing import Any

from mmaction.models.heads import BaseHead
from torch import Tensor, nn

from nextvid_mm.layers.attentive_pool import AttentiveProbes
from nextvid_mm.registry import MODELS

POOLS = ('attentive', 'mean')


@MODELS.register_module()
class ClipHead(BaseHead):
    """Pools the tokens of a clip and classifies it, for ``mmaction.Recognizer3D``.

    Loss, label smoothing and the average over views are MMAction2's.

    Args:
        num_classes: classes K.
        in_channels: channels of the encoder.
        pool: ``attentive`` for one cross-attention block with a learnable query, the architecture
            of the probes; ``mean`` for the mean of all tokens.
        num_heads: attention heads; must divide ``in_channels``.
        mlp_ratio: hidden width of the MLP after the attention, over ``in_channels``; 0 for none.
        dropout: before the classifier of ``mean``.
        average_clips: how views are averaged, ``prob`` or ``score``.
        kwargs: further arguments of MMAction2's ``BaseHead``, such as ``label_smooth_eps``.

    Raises:
        ValueError: for an unknown ``pool``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        pool: str = 'attentive',
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        average_clips: str = 'prob',
        **kwargs: Any,
    ):
        kwargs.setdefault('loss_cls', dict(type='mmaction.CrossEntropyLoss'))
        super().__init__(num_classes, in_channels, average_clips=average_clips, **kwargs)
        if pool not in POOLS:
            raise ValueError(f'pool={pool!r} of ClipHead is not one of {", ".join(POOLS)}')
        self.pool = pool
        if pool == 'attentive':
            self.classifier: nn.Module = AttentiveProbes(
                in_channels, num_classes, num_heads, mlp_ratio
            )
        else:
            self.classifier = nn.Sequential(
                nn.Dropout(dropout), nn.Linear(in_channels, num_classes)
            )

    def init_weights(self) -> None:
        """Start anew, then load ``init_cfg`` if there is one."""
        if isinstance(self.classifier, AttentiveProbes):
            self.classifier.reset_parameters()
        else:
            nn.init.trunc_normal_(self.classifier[1].weight, std=0.01)
            nn.init.zeros_(self.classifier[1].bias)
        super().init_weights()

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Features ``(B, C, T, H, W)`` to logits ``(B, K)``, float32 also under autocast."""
        tokens = x.flatten(2).transpose(1, 2)
        if self.pool == 'mean':
            return self.classifier(tokens.mean(1)).float()
        return self.classifier(tokens)[:, 0].float()
