"""What the pretraining algorithms share: their slots and MMEngine's entry point."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mmaction.models.data_preprocessors import ActionDataPreprocessor
from mmengine.model import BaseModel, PretrainedInit, initialize
from torch import Tensor

from nextvid_mm.layers import BatchMask, ClipBatch, TokenGrid
from nextvid_mm.models.backbones.base import VideoEncoder
from nextvid_mm.models.heads.base import Head
from nextvid_mm.models.part import build_part, part_class
from nextvid_mm.models.predictors.base import Predictor
from nextvid_mm.models.target_generators.base import TargetGenerator
from nextvid_mm.models.target_generators.ema_reference import EMAReference
from nextvid_mm.registry import MODELS

CONTRACTS = dict(
    backbone=VideoEncoder,
    neck=Predictor,
    head=Head,
    align_head=Head,
    target_generator=TargetGenerator,
)


@MODELS.register_module()
class ClipPreprocessor(ActionDataPreprocessor):
    """MMAction2's preprocessor for the batches of ``collate_clips``: one copy to the device.

    The copy is asynchronous where the loader pins its memory. Arguments as in
    ``mmaction.ActionDataPreprocessor``.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._non_blocking = True

    def preprocess(self, inputs: Any, data_samples: Any, training: bool = False) -> tuple:
        """Normalise clips ``(B, 1, 3, T_video, height, width)``, or a list of them."""
        if not isinstance(inputs, Tensor) or self.blending or self.format_shape != 'NCTHW':
            return super().preprocess(list(inputs), data_samples, training)
        # As MMAction2 does, without taking the batch apart and stacking it again.
        clips = inputs.flip(-4) if self.to_rgb else inputs
        if self._enable_normalize:
            clips = (clips - self.mean) / self.std
        elif self.to_float32:
            clips = clips.float()
        return clips, data_samples


class ClipPretraining(BaseModel):
    """A self-supervised algorithm on clips, in MMPretrain's slots.

    Subclasses give the slots they use: ``backbone`` (the encoder, which the probe loads), ``neck``
    (what predicts), ``head`` (what has the loss) and ``target_generator``. ``reference`` is the
    encoder that ``EMAHook`` moves. A slot that is not used is None. Each part fills the contract
    of its slot and is entered by calling it.

    Args:
        data_preprocessor: normalises batches; a ``ClipPreprocessor``.
        init_cfg: mmengine initialisation config.
        parts: configs of the slots, in the order they are built; ``reference`` gets the encoder's
            config, too.

    Raises:
        TypeError: if a part does not fill its contract; names the contract and the method.
    """

    def __init__(self, data_preprocessor: dict | None, init_cfg: dict | None, **parts: dict | None):
        super().__init__(MODELS.build(preprocessor_config(data_preprocessor)), init_cfg)
        self.backbone: Any = None
        self.neck: Any = None
        self.head: Any = None
        self.target_generator: Any = None
        self.reference: Any = None
        for slot, settings in parts.items():
            part: Any = None
            if settings is not None and slot == 'reference':
                part_class(settings, EMAReference, 'model.reference')
                part = MODELS.build(settings, default_args=dict(backbone=parts['backbone']))
            elif settings is not None:
                part = build_part(settings, CONTRACTS[slot], f'model.{slot}')
            setattr(self, slot, part)
        self._check_widths()
        if self.head is not None and self.target_generator is not None:
            self._check_targets()

    def _check_widths(self) -> None:
        """Raise unless parts take what others give; those that do not say how much are let be."""
        neck, head, align = self.neck, self.head, getattr(self, 'align_head', None)
        width = 'backbone', self.backbone.embed_dims
        given = width if neck is None else ('neck', getattr(neck, 'out_channels', None))
        place = (
            'in_channels' if head is None or head.trunk is head else 'decoder.condition_channels'
        )
        pairs = [
            ('neck.in_channels', getattr(neck, 'in_channels', None), width),
            (f'head.{place}', getattr(head, 'in_channels', None), given),
            ('align_head.in_channels', getattr(align, 'in_channels', None), given),
            ('align_head.out_channels', getattr(align, 'target_channels', None), width),
        ]
        if self.target_generator is None:  # features of the reference are regressed
            pairs.append(('head.target_channels', getattr(head, 'target_channels', None), width))
        for key, found, (source, wanted) in pairs:
            if None not in (found, wanted) and found != wanted:
                raise ValueError(
                    f'model.{key}={found} does not fit the {wanted} channels of model.{source}: '
                    f'set model.{key}={wanted}'
                )

    def _check_targets(self) -> None:
        """Raise unless targets lie on the encoder's tokens, and the head makes tokens like them."""
        head, target, encoder = self.head, self.target_generator, self.backbone
        for key in ('patch_size', 'tubelet_size'):
            # Patches of other targets would be found by the encoder's numbers, somewhere else.
            ours, theirs = getattr(encoder, key), getattr(target, key)
            if ours != theirs:
                raise ValueError(
                    f'{type(target).__name__} has {key}={theirs}, but {type(encoder).__name__} has '
                    f'{key}={ours}, and a target covers what a token does: set '
                    f'model.target_generator.{key}={ours}'
                )
        if head.target_channels != target.channels:
            place = 'head' if head.trunk is head else 'head.decoder'
            raise ValueError(
                f'{type(head).__name__} makes tokens of target_channels={head.target_channels}, '
                f'but the targets of {type(target).__name__} have {target.channels} '
                f'channels: set model.{place}.target_channels={target.channels}'
            )

    def check_ahead(self, ahead: int) -> None:
        """Raise unless the predictor looks as many tubelets ahead as there are targets for."""
        if self.neck.ahead != ahead:
            raise ValueError(
                f'neck.ahead={self.neck.ahead} of {type(self.neck).__name__}: '
                f'{type(self).__name__} needs ahead={ahead}'
            )

    @abstractmethod
    def loss(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Named losses.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            batch: masks, seeds and cached targets of the clips.
        """

    def init_weights(self) -> None:
        """Initialise all parts; a reference encoder starts as a copy of the encoder."""
        super().init_weights()
        if self.reference is not None:
            self.reference.copy_from(self.backbone)
            given = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
            # Once more: a file with the whole model has a reference of its own.
            initialize(self, [c for c in given if c['type'] in ('Pretrained', PretrainedInit)])

    def forward(
        self, inputs: Tensor, data_samples: ClipBatch | None = None, mode: str = 'tensor'
    ) -> Any:
        """MMEngine's entry point. Hooks enter here, too: a sharded model is entered by its root.

        Args:
            inputs: normalised clips ``(B, 1, 3, T_video, height, width)``.
            data_samples: what comes with them; only for ``loss``.
            mode: ``loss`` for training; ``tensor`` for tokens ``(B, T, N, C)`` of the encoder,
                ``reference`` of the reference encoder.
        """
        clip = inputs.flatten(0, 1)
        if mode == 'loss':
            return self.loss(clip, data_samples)  # type: ignore[arg-type]
        if mode not in ('tensor', 'reference'):
            raise ValueError(
                f"mode={mode!r} of {type(self).__name__}.forward is not 'loss', 'tensor' or "
                "'reference'"
            )
        patches, grid = self.backbone.patchify(clip), self.backbone.grid_of(clip)
        if mode == 'reference':
            return self.reference(patches, grid)
        return self.backbone(patches, grid)[-1]

    def next_frame_grid(self, clip: Tensor) -> TokenGrid:
        """Token grid of a clip that has a next frame to predict.

        Raises:
            ValueError: if the clip is a single tubelet.
        """
        grid = self.backbone.grid_of(clip)
        if grid.tubelets < 2:
            raise ValueError(
                f'next-frame prediction needs at least 2 tubelets, found {grid.tubelets}: raise '
                'num_frames of the stage'
            )
        return grid

    def masks_of(self, batch: ClipBatch) -> tuple[BatchMask, ...]:
        """Masks of a batch that must have some.

        Raises:
            ValueError: if it has none; says what draws them.
        """
        if not batch.masks:
            raise ValueError(
                f'{type(self).__name__} found a batch without masks: end the pipeline of '
                'train_dataloader.dataset with FrameIsolatedMasking and PackActionInputs('
                "algorithm_keys=('masks',))"
            )
        return batch.masks

    def _dump_init_info(self) -> None:
        """No report of several lines per parameter in the log."""


def preprocessor_config(settings: dict | None) -> dict:
    """Config of the preprocessor; MMAction2's own is read as ``ClipPreprocessor``.

    Configs and checkpoints name MMAction2's, which knows batches as lists only.
    """
    settings = dict(settings or {})
    if settings.get('type', 'ActionDataPreprocessor').endswith('ActionDataPreprocessor'):
        settings['type'] = 'ClipPreprocessor'
    return settings
