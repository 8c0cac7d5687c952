"""Masked regression inside a clip: VideoMAE and V-JEPA, from this project's layers.

Shape legend: B batch, T tubelets, N patches per tubelet, M hidden ones, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from nextvid_mm.layers import ClipBatch, TokenGrid, gather_patches
from nextvid_mm.registry import MODELS

from .base import ClipPretraining


@MODELS.register_module()
class MaskedVideoRegression(ClipPretraining):
    """Regresses what is hidden from what is visible, in the same tubelets.

    With a ``target_generator`` of normalised pixels this is the objective of VideoMAE (arXiv
    2203.12602); with a ``reference`` encoder, whose layer-normalised features of the whole clip are
    the targets, that of V-JEPA (arXiv 2404.08471).

    Args:
        backbone: the encoder, a ``CausalViT``; published with ``causal=False``.
        neck: a ``JointPredictor`` with ``ahead=0``.
        head: a ``LinearRegressionHead``.
        target_generator: pixels or latents to regress; or None.
        reference: encoder whose features to regress; or None.
        data_preprocessor: batches and normalises clips; MMAction2's by default.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: unless exactly one of ``target_generator`` and ``reference`` is given; for a
            target of video codes, which has none for the first tubelet.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        target_generator: dict | None = None,
        reference: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        if (target_generator is None) == (reference is None):
            raise ValueError(
                'MaskedVideoRegression needs a target_generator or a reference, and not both: '
                f'found target_generator={target_generator}, reference={reference}'
            )
        super().__init__(
            data_preprocessor,
            init_cfg,
            backbone=backbone,
            neck=neck,
            head=head,
            target_generator=target_generator,
            reference=reference,
        )
        self.check_ahead(0)
        if self.target_generator is not None and self.target_generator.lead_frames:
            raise ValueError(
                f'target_generator={type(self.target_generator).__name__} encodes a tubelet with '
                'the frame before it, but MaskedVideoRegression has targets in the first one, '
                'too: use an image autoencoder, SigLIP 2 or pixels'
            )

    def loss(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Regression at the hidden patches of all tubelets, averaged over masking strategies.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            batch: of which the masks are used.
        """
        grid = self.backbone.grid_of(clip)
        patches = self.backbone.patchify(clip)
        target = self._targets(clip, patches, grid)
        losses = []
        for mask in self.masks_of(batch):
            context = self.backbone(patches, grid, mask.visible)[-1]
            z = self.neck(context, grid, mask.visible, mask.queried)
            hidden = gather_patches(target, mask.queried)
            losses.append(self.head(z, hidden, grid, mask.queried))
        return mean_losses(losses)

    @torch.no_grad()
    def _targets(self, clip: Tensor, patches: Tensor, grid: TokenGrid) -> Tensor:
        """What is regressed, ``(B, T, N, C)``: here the first tubelet is a target, too."""
        if self.reference is not None:
            features = self.reference(patches, grid).float()
            return layer_norm(features, features.shape[-1:])
        return self.target_generator(clip, first=0)


def mean_losses(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of every named loss over masking strategies."""
    return {name: torch.stack([entry[name] for entry in losses]).mean() for name in losses[0]}
