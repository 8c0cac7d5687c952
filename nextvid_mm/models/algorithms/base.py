"""What the pretraining algorithms share: MMEngine's entry point."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from nextvid_mm.layers import TokenGrid


class ClipPretraining(BaseModel):
    """A self-supervised algorithm on clips, in MMPretrain's slots.

    Subclasses fill ``backbone`` (the encoder, which the probe loads), ``neck`` (what predicts),
    ``head`` (what has the loss) and ``target_generator``. ``reference`` is the encoder that
    ``EMAHook`` moves. A slot that is not used is None.

    Args:
        data_preprocessor: batches and normalises clips; MMAction2's by default.
        init_cfg: mmengine initialisation config.
    """

    def __init__(self, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone: Any = None
        self.neck: Any = None
        self.head: Any = None
        self.target_generator: Any = None
        self.reference: Any = None

    @abstractmethod
    def loss(self, clip: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Named losses.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            data_samples: one per clip, with ``masks`` and ``sample_seed``.
        """

    def init_weights(self) -> None:
        """Initialise all parts; a reference encoder starts as a copy of the encoder."""
        super().init_weights()
        if self.reference is not None:
            self.reference.copy_from(self.backbone)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """MMEngine's entry point.

        Args:
            inputs: normalised clips ``(B, 1, 3, T_video, height, width)``.
            data_samples: one per clip, with ``masks`` and ``sample_seed``.
            mode: ``loss`` for training, ``tensor`` for the encoder's tokens ``(B, T, N, C)``.
        """
        clip = inputs.flatten(0, 1)
        if mode == 'loss':
            return self.loss(clip, data_samples)
        if mode == 'tensor':
            return self.backbone.encode(clip)
        raise ValueError(
            f"mode={mode!r} of {type(self).__name__}.forward is not 'loss' or 'tensor'"
        )

    def next_frame_grid(self, clip: Tensor) -> TokenGrid:
        """Token grid of a clip that has a next frame to predict.

        Raises:
            ValueError: if the clip is a single tubelet.
        """
        grid = self.backbone.grid_of(clip)
        if grid.frames < 2:
            raise ValueError(
                f'next-frame prediction needs at least 2 tubelets, found {grid.frames}: raise '
                'num_frames of the stage'
            )
        return grid

    def _dump_init_info(self) -> None:
        """No report of several lines per parameter in the log."""


def check_target_channels(head: Any, target_generator: Any) -> None:
    """Raise unless the head generates tokens of the size that the targets have."""
    if head is not None and head.target_channels != target_generator.channels:
        raise ValueError(
            f'{type(head).__name__} makes tokens of target_channels={head.target_channels}, but '
            f'the targets of {type(target_generator).__name__} have {target_generator.channels} '
            f'channels: set model.head.decoder.target_channels={target_generator.channels}'
        )


def check_ahead(model: Any, ahead: int) -> None:
    """Raise unless the predictor looks as many frames ahead as the algorithm has targets for."""
    if model.neck.ahead != ahead:
        raise ValueError(
            f'neck.ahead={model.neck.ahead} of {type(model.neck).__name__}: '
            f'{type(model).__name__} needs ahead={ahead}'
        )
