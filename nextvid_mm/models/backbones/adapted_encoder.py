"""Any encoder at all: a network of one's own, or a model of transformers as it is.

Shape legend: B clips, T tubelets, F video frames, N patches per tubelet, L tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nextvid_mm.registry import MODELS

from .base import ClipEncoder
from .pixels import PixelNorm


class AdaptedEncoder(ClipEncoder):
    """An encoder made of any function from clips to tokens; subclass and register it.

    For frozen features and probes. Its own normalisation of colours is applied inside, so that
    it takes the same clips as every other encoder.

    Args:
        network: called with pixels ``(B, 3, F, height, width)``, gives tokens ``(B, L, C)``;
            override ``tokens`` to call it otherwise.
        embed_dims: channels C.
        img_size: pixels per side it is used with.
        patch_size: pixels per side of a patch.
        tubelet_size: video frames per token; 1 for an image encoder.
        mean: of the colours in [0, 1] that it was trained with.
        std: their standard deviation.
        source: where its weights come from, for records; None says nothing.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        network: nn.Module,
        embed_dims: int,
        img_size: int = 224,
        patch_size: int = 16,
        tubelet_size: int = 2,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        source: str | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(embed_dims, 1, img_size, patch_size, tubelet_size, init_cfg=init_cfg)
        self.network, self.pixels, self.source = network, PixelNorm(mean, std), source

    def init_weights(self) -> None:
        """Nothing: the network comes with its weights."""

    def tokens(self, pixels: Tensor) -> Tensor:
        """Tokens ``(B, L, C)`` in the order time, row, column, from normalised pixels."""
        return self.network(pixels)

    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """The tokens, see ``ClipEncoder``; there is no layer but the last.

        Raises:
            ValueError: if they are not one for every patch, of ``embed_dims`` channels.
        """
        self.check_last(last)
        grid = self.grid_of(clip)
        tokens = self.tokens(self.pixels(clip))
        expected = (len(clip), grid.tubelets * grid.patches, self.embed_dims)
        if tuple(tokens.shape) != expected:
            raise ValueError(
                f'{type(self).__name__} gave tokens {tuple(tokens.shape)} for clips '
                f'{tuple(clip.shape)}, expected {expected}: tubelets x patches '
                f'({grid.tubelets} x {grid.patches}) of embed_dims; is patch_size='
                f'{self.patch_size} or tubelet_size={self.tubelet_size} another, or are class '
                'tokens left in?'
            )
        return [tokens.unflatten(1, (grid.tubelets, grid.patches))]


@MODELS.register_module()
class TransformersEncoder(AdaptedEncoder):
    """A vision model of transformers as ``AutoModel`` loads it, for clips or for single frames.

    Size, patch and tubelet are those of its config, colours those of its processor. Tokens are the
    last hidden states of the patches; class and register tokens, which come first, are left out.

    Args:
        path: folder of ``save_pretrained``, with the processor's files; nothing is downloaded.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if its config does not say what a token is; write an ``AdaptedEncoder`` then.
    """

    def __init__(self, path: str, init_cfg: dict | None = None):
        if not Path(path).is_dir():
            raise FileNotFoundError(f'path={path!r} of TransformersEncoder is no folder')
        from transformers import AutoModel

        from nextvid_mm.models.checkpoints.files import read_file

        read_file(path)  # says what a file is that is none
        model = AutoModel.from_pretrained(path, local_files_only=True)
        config, processor = model.config, _processor(path)
        size = getattr(config, 'image_size', None) or getattr(config, 'crop_size', None)
        tubelet = getattr(config, 'tubelet_size', None)
        sides: list[Any] = [size, getattr(config, 'patch_size', None), tubelet or 1]
        if not all(isinstance(side, int) for side in sides):
            raise ValueError(
                f'config.json in {path} does not say image_size, patch_size and tubelet_size as '
                'single numbers; write an AdaptedEncoder, docs/features.md says how'
            )
        super().__init__(
            model,
            config.hidden_size,
            img_size=sides[0],
            patch_size=sides[1],
            tubelet_size=sides[2],
            mean=processor.image_mean,
            std=processor.image_std,
            source=str(path),
            init_cfg=init_cfg,
        )
        self.takes_video = tubelet is not None
        self.causal = self.per_frame = not self.takes_video

    def tokens(self, pixels: Tensor) -> Tensor:
        """Last hidden states ``(B, L, C)`` of the patches.

        Raises:
            ValueError: if a VideoMAE gets clips of another length than its table of positions.
        """
        B, frames, config = len(pixels), pixels.transpose(1, 2), self.network.config
        if config.model_type == 'videomae' and frames.shape[1] != config.num_frames:
            raise ValueError(
                f'{self.source} takes clips of {config.num_frames} frames as it is, found '
                f'{frames.shape[1]}: a file of tools/convert_checkpoint.py --from videomae takes '
                'any number'
            )
        patches = pixels.shape[-2] // self.patch_size * (pixels.shape[-1] // self.patch_size)
        if self.takes_video:
            options = dict(skip_predictor=True) if config.model_type == 'vjepa2' else {}
            hidden = self.network(frames, **options).last_hidden_state
            return hidden[:, -patches * (pixels.shape[2] // self.tubelet_size) :]
        hidden = self.network(frames.flatten(0, 1)).last_hidden_state
        return hidden[:, -patches:].unflatten(0, (B, -1)).flatten(1, 2)


def _processor(path: str) -> Any:
    """The video or image processor in a folder."""
    from transformers import AutoImageProcessor, AutoVideoProcessor

    try:
        return AutoVideoProcessor.from_pretrained(path, local_files_only=True)
    except (ValueError, OSError):  # an image model
        return AutoImageProcessor.from_pretrained(path, local_files_only=True)
