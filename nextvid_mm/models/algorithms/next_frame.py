"""Autoregressive regression of the next frame, without masks, predictor or noise.

Shape legend: B batch, T tubelets, N patches per tubelet, C channels.
"""

from __future__ import annotations

from torch import Tensor

from nextvid_mm.layers import ClipBatch
from nextvid_mm.registry import MODELS

from .base import ClipPretraining


@MODELS.register_module()
class NextFrameRegression(ClipPretraining):
    """The encoder's token of a tubelet regresses the target at the same place in the next one.

    The objective of Toto (arXiv 2501.05453) and AIM (arXiv 2401.08541) on frames: a causal
    transformer over all tokens predicts what comes next, and what it predicts with is what it is
    probed for. Masks of the samples are not used.

    Args:
        backbone: the encoder, a ``CausalViT`` with causal attention.
        head: a ``RegressionHead`` or ``LinearRegressionHead``.
        target_generator: pixels or latents to regress.
        data_preprocessor: batches and normalises clips; MMAction2's by default.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if the encoder is not causal and would read what it predicts.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        target_generator: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            data_preprocessor,
            init_cfg,
            backbone=backbone,
            head=head,
            target_generator=target_generator,
        )
        if not self.backbone.causal:
            raise ValueError(
                'backbone.causal=False: NextFrameRegression needs a causal encoder, another reads '
                'the frame it predicts'
            )

    def loss(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Regression at every patch of tubelets 1..T-1.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            batch: of the clips.
        """
        grid = self.next_frame_grid(clip)
        past = grid.with_tubelets(grid.tubelets - 1)  # nothing is predicted from the last tubelet
        z = self.backbone(self.backbone.patchify(clip), past)[-1]
        target = self.target_generator(clip, batch)
        return self.head(z, target, grid)
