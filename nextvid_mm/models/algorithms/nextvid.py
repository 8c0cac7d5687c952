"""NExT-Vid: masked next-frame prediction (arXiv 2512.21004, §3).

Shape legend: B batch, T tubelets, N patches per tubelet, K visible and M queried ones,
C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.layers import (
    BatchMask,
    ClipBatch,
    TokenGrid,
    allow_many_shapes,
    gather_patches,
    set_attention_backend,
)
from nextvid_mm.models.hub import HubFolder
from nextvid_mm.registry import MODELS

from .base import ClipPretraining

QUERIES = ('hidden', 'all')


@MODELS.register_module()
class NextVid(ClipPretraining, HubFolder):
    """Wires encoder, predictor, decoder, targets and reference encoder into named losses.

    Args:
        backbone: the encoder, a ``CausalViT``.
        neck: the predictor: a ``QFormerPredictor``, or a ``JointPredictor`` with ``ahead=1``.
        head: the decoder with its loss, a ``FlowMatchingHead`` or ``RegressionHead``; None for
            alignment only.
        target_generator: what is generated, e.g. a ``PixelTarget``; needed by ``head``.
        align_head: alignment with the reference encoder; None for generation only.
        reference: the reference encoder; needed by ``align_head``.
        queries: predict the ``hidden`` patches or ``all``.
        compile: compile every block with ``torch.compile`` (shapes are static), and the encoder
            of a frozen autoencoder.
        attention: how attention to earlier tubelets is computed, see ``set_attention_backend``.
        data_preprocessor: batches and normalises clips; MMAction2's by default.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict | None,
        target_generator: dict | None = None,
        align_head: dict | None = None,
        reference: dict | None = None,
        queries: str = 'hidden',
        compile: bool = False,
        attention: str = 'auto',
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        if queries not in QUERIES:
            raise ValueError(f'queries={queries!r} of NextVid is not one of {", ".join(QUERIES)}')
        _check_parts(head, target_generator, align_head, reference)
        super().__init__(
            data_preprocessor,
            init_cfg,
            backbone=backbone,
            neck=neck,
            head=head,
            target_generator=target_generator,
            align_head=align_head,
            reference=reference,
        )
        self.align_head: Any
        self.queries = queries
        self.check_ahead(1)
        set_attention_backend(self, attention)
        if compile:
            self.compile_blocks()

    def loss(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses averaged over masking strategies.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            batch: masks, seeds and cached targets of the clips.
        """
        grid = self.next_frame_grid(clip)
        patches = self.backbone.patchify(clip)
        target = None if self.head is None else self.target_generator(clip, batch)
        features = self.reference(patches, grid)[:, 1:] if self.align_head is not None else None
        totals: dict[str, Tensor] = {}
        masks = self.masks_of(batch)
        for number, mask in enumerate(masks):
            z, positions = self.predict_tokens(patches, grid, mask)
            losses: dict[str, Tensor] = {}
            if self.head is not None:
                hidden = gather_patches(target, positions)
                losses |= self.head(z, hidden, grid, positions, batch.seeds_of(number))
            if self.align_head is not None:
                losses |= self.align_head(z, gather_patches(features, positions), grid, positions)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value / len(masks)
        return totals

    def predict_tokens(
        self, patches: Tensor, grid: TokenGrid, mask: BatchMask
    ) -> tuple[Tensor, Tensor | None]:
        """Encode what is visible and predict tubelets 1..T-1.

        Returns:
            Predictions ``(B, T-1, M, C_predictor)`` and their patches ``(B, M)`` (None: all).
        """
        # Nothing is predicted from the last tubelet, and no earlier one sees it: do not encode it.
        past = grid.with_tubelets(grid.tubelets - 1)
        context = self.backbone(patches, past, mask.visible)[-1]
        positions = mask.queried if self.queries == 'hidden' else None
        return self.neck(context, grid, mask.visible, positions), positions

    @torch.no_grad()
    def generate(
        self,
        clip: Tensor,
        mask: BatchMask | None,
        noise: Tensor,
        num_steps: int = 20,
        solver: str = 'euler',
    ) -> Tensor:
        """Generate the queried patches of tubelets 1..T-1 from what is visible before each.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            mask: visible and queried patches, whatever ``queries`` says; None shows and generates
                every patch.
            noise: standard normal ``(B, T-1, M, C_target)``.
            num_steps: solver steps.
            solver: ``euler`` or ``heun``.

        Returns:
            Pixels ``(B, 3, T_video - tubelet, height, width)`` with the generated patches pasted
            into the original.
        """
        grid = self.next_frame_grid(clip)
        visible, positions = (None, None) if mask is None else (mask.visible, mask.queried)
        past = grid.with_tubelets(grid.tubelets - 1)
        context = self.backbone(self.backbone.patchify(clip), past, visible)[-1]
        z = self.neck(context, grid, visible, positions)
        generated = self.head.sample(z, noise, grid, positions, num_steps, solver)
        if positions is not None:
            target = self.target_generator(clip)
            index = positions[:, None, :, None].expand_as(generated)
            generated = target.scatter(2, index, generated.to(target.dtype))
        return self.target_generator.to_pixels(generated, grid.with_tubelets(grid.tubelets - 1))

    def compile_blocks(self, backend: str = 'inductor') -> None:
        """Compile every block, and the encoder of a frozen autoencoder, for static shapes.

        Blocks of one kind share their code: it is compiled once for each shape, that is for each
        mask strategy, number of tubelets and number of tau samples of the stage table. PyTorch's
        own limit of eight shapes per code would end compilation in the middle of a run.

        Args:
            backend: of ``torch.compile``.
        """
        allow_many_shapes()
        parts = [self.backbone, self.neck, self.head, self.reference and self.reference.encoder]
        for part in parts:
            for block in () if part is None else part.trunk.blocks:
                block.compile(dynamic=False, backend=backend)
        network = getattr(self.target_generator, 'network', None)
        if isinstance(encoder := getattr(network, 'encoder', None), nn.Module):
            encoder.compile(dynamic=False, backend=backend)  # of an autoencoder


def _check_parts(
    head: dict | None,
    target_generator: dict | None,
    align_head: dict | None,
    reference: dict | None,
) -> None:
    """Raise unless every loss has what it needs and nothing is configured without use."""
    if head is None and align_head is None:
        raise ValueError(
            'NextVid needs a head, an align_head, or both: without them it has no loss'
        )
    for loss, part, names in (
        (head, target_generator, ('head', 'target_generator')),
        (align_head, reference, ('align_head', 'reference')),
    ):
        if (loss is None) != (part is None):
            given, absent = names if part is None else names[::-1]
            raise ValueError(f'NextVid has a {given} but no {absent}: give both or neither')
