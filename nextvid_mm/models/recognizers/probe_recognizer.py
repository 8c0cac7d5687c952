"""A frozen encoder under a grid of attentive probes (arXiv 2512.21004, Tables 9 and 10).

Shape legend: B clips, M inputs per clip (spatial views × segments), V views, S segments, T video
frames, N tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmaction.models.recognizers.base import BaseRecognizer
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from nextvid_mm.checks import check_count
from nextvid_mm.layers import check_dtype, resolve_dtype
from nextvid_mm.models.backbones.base import ClipEncoder
from nextvid_mm.models.checkpoints import (
    PREFIXES,
    EncoderOrigin,
    check_same_backbone,
    hash_weights,
    load_encoder,
    plain_config,
    read_checkpoint,
    require_room,
    stored_backbone,
)
from nextvid_mm.models.part import part_class
from nextvid_mm.registry import MODELS, require_registered


@MODELS.register_module()
class ProbeRecognizer(BaseRecognizer):
    """Encodes every segment on its own and pools the tokens of all segments of one view at once.

    The encoder runs in evaluation mode without a graph, ``clips_per_pass`` segments at a time and
    one spatial view after the other, so that memory does not grow with the number of views.

    Args:
        cls_head: the probes, a ``ProbeHead``; its ``in_channels`` may be left out.
        backbone: the encoder, e.g. a ``CausalViT``; None takes the one recorded in ``encoder``, and
            without that, the one recorded in the trained probe that is loaded.
        encoder: checkpoint to take the encoder from; None leaves it untrained.
        encoder_weights: ``reference`` for the EMA encoder, ``encoder`` for the trained one,
            ``untrained`` for new weights: the baseline with the checkpoint's configuration.
        last_layers: encoder layers whose tokens are fed to the probe, counted from the last.
        layers: numbers of these layers instead, from 0, such as 17, 19, 21, 23 of 24.
        num_segments: segments of a video that are pooled together.
        single_frame: repeat the middle frame of every segment instead of showing it in motion.
        static_frames: video frames an image is repeated to; None if inputs are clips.
        clips_per_pass: segments per forward pass of the encoder.
        dtype: autocast type of the encoder: None, ``bfloat16``, ``float16``, or ``auto`` for
            bfloat16 where the hardware computes in it.
        data_preprocessor: batches and normalises clips; MMAction2's by default.
    """

    def __init__(
        self,
        cls_head: dict,
        backbone: dict | None = None,
        encoder: str | None = None,
        encoder_weights: str = 'reference',
        last_layers: int = 1,
        layers: Sequence[int] | None = None,
        num_segments: int = 1,
        single_frame: bool = False,
        static_frames: int | None = None,
        clips_per_pass: int = 32,
        dtype: str | None = None,
        data_preprocessor: dict | None = None,
    ):
        check_dtype(dtype, 'model.dtype')
        check_count(num_segments, 'model.num_segments')
        check_count(clips_per_pass, 'model.clips_per_pass')
        if encoder_weights not in (*PREFIXES, 'untrained'):
            raise ValueError(
                f'model.encoder_weights={encoder_weights!r} is not one of '
                f'{[*PREFIXES, "untrained"]}'
            )
        super().__init__(
            backbone=dict(type=nn.Identity),  # its place, until the encoder is known
            data_preprocessor=data_preprocessor or dict(type='mmaction.ActionDataPreprocessor'),
        )
        self.encoder, self.encoder_weights = encoder, encoder_weights
        self.num_segments = num_segments
        self.single_frame, self.static_frames = single_frame, static_frames
        self.clips_per_pass, self.dtype = clips_per_pass, dtype
        self.backbone_config: dict = {}
        self.origin: EncoderOrigin | None = None
        self._to_build = dict(cls_head), last_layers, layers
        config = resolve_backbone(backbone, encoder)
        if config is not None:
            self._build(config)

    def _build(self, config: dict) -> None:
        """Make the encoder that ``config`` describes, and the probes over it."""
        cls_head, last_layers, layers = self._to_build
        part_class(config, ClipEncoder, 'model.backbone')  # type: ignore[type-abstract]
        self.backbone = MODELS.build(config | dict(type=MODELS.get(config['type'])))
        self.cls_head = MODELS.build(dict(in_channels=self.backbone.embed_dims) | cls_head)
        depth = self.backbone.depth
        if layers is None:
            self.backbone.check_last(last_layers)
        self.layers = list(range(depth - last_layers, depth) if layers is None else layers)
        if layers is not None and (
            last_layers != 1
            or not self.layers
            or self.layers != sorted(set(self.layers))
            or not 0 <= self.layers[0] <= self.layers[-1] < depth
        ):
            raise ValueError(
                f'model.layers={list(layers)} must be rising numbers from 0 to {depth - 1}, the '
                'layers of this encoder, and stands instead of model.last_layers'
            )
        self.backbone_config = config
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Build the encoder that a trained probe records, if the config names none."""
        record = state.get(f'{prefix}_extra_state')
        if not self.backbone_config and isinstance(record, Tensor):
            config = EncoderOrigin.from_tensor(record).backbone
            require_registered(config, 'the probe checkpoint')
            self._build(plain_config(config))
            self.to(self.data_preprocessor.device)  # where the rest of the model may be by now
        super()._load_from_state_dict(state, prefix, *others)

    def init_weights(self) -> None:
        """Initialise, then load the encoder, unless it is to stay untrained.

        Raises:
            ValueError: if neither ``backbone`` nor ``encoder`` says what the encoder is.
        """
        if not self.backbone_config:
            raise ValueError(
                'model.backbone and model.encoder are both None: give the checkpoint to probe, or '
                'the configuration of an untrained encoder'
            )
        super().init_weights()
        if self.encoder is not None and self.encoder_weights != 'untrained':
            self.origin = load_encoder(
                self.backbone, self.backbone_config, self.encoder, self.encoder_weights
            )
        else:
            self.record_origin(getattr(self.backbone, 'source', None))  # an adapted encoder's

    def record_origin(self, path: str | None) -> None:
        """Write down that the encoder is as it stands; ``path`` says where it is from."""
        weights = None if path is None else 'encoder'
        digest = hash_weights(self.backbone)
        self.origin = EncoderOrigin(path, weights, digest, None, self.backbone_config)

    def _dump_init_info(self) -> None:
        """No report of several lines per parameter in the log."""

    def train(self, mode: bool = True) -> ProbeRecognizer:
        """The probes follow ``mode``; the encoder stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """What a checkpoint says of the encoder besides its weights."""
        origin = self.origin or EncoderOrigin(None, None, '', None, self.backbone_config)
        return origin.as_tensor()

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the record of a checkpoint.

        Raises:
            ValueError: if it is of an encoder with another configuration.
        """
        origin = EncoderOrigin.from_tensor(state)
        check_same_backbone(self.backbone_config, origin.backbone, 'the probe checkpoint')
        self.origin = origin

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """Frozen tokens of segments.

        Args:
            clips: ``(R, 3, T, height, width)``.

        Returns:
            ``(R, N, C)``, N over layers, tubelets and patches.
        """
        if self.single_frame:
            clips = clips[:, :, [clips.shape[2] // 2]].expand_as(clips)
        dtype = resolve_dtype(self.dtype, clips.device)
        # The encoder gives its last layers without gaps.
        last = self.backbone.depth - self.layers[0]
        chosen = [layer - self.layers[0] for layer in self.layers]
        with torch.autocast(clips.device.type, dtype, enabled=dtype is not None):
            parts = []
            for x in clips.split(self.clips_per_pass):
                tokens = self.backbone.encode_layers(x, last=last)
                parts.append(torch.cat([tokens[place].flatten(1, 2) for place in chosen], dim=1))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def views(self, inputs: Tensor) -> Iterator[Tensor]:
        """Tokens of one spatial view after the other, all its segments together.

        Args:
            inputs: clips ``(B, M, 3, T, height, width)`` with the segment as the faster part of M
                (as MMAction2's crops leave them), or images ``(B, 3, height, width)``.

        Yields:
            V tensors ``(B, S * N, C)``.

        Raises:
            ValueError: if M is no multiple of ``num_segments``.
        """
        if self.static_frames is not None:
            inputs = inputs[:, None, :, None].expand(-1, 1, -1, self.static_frames, -1, -1)
        B, S = inputs.shape[0], self.num_segments
        self._check_segments(inputs.shape[1])
        for view in inputs.split(S, dim=1):
            yield self.encode(view.flatten(0, 1)).unflatten(0, (B, S)).flatten(1, 2)

    def _check_segments(self, count: int) -> None:
        if count % self.num_segments:
            raise ValueError(
                f'{count} clips per video are no multiple of model.num_segments='
                f'{self.num_segments}; the pipeline must give num_clips=num_segments times the '
                'number of spatial crops'
            )

    def views_of_batch(self, data: dict) -> Iterator[Tensor]:
        """Tokens of one spatial view after the other, from a batch as the loader gives it.

        Only one view at a time is moved to the device and normalised: apart from the loader's
        bytes, memory does not grow with the number of views.

        Args:
            data: ``inputs``, one uint8 tensor ``(M, 3, T, height, width)`` (or an image
                ``(3, height, width)``) per sample, and ``data_samples``.

        Yields:
            V tensors ``(B, S * N, C)``.
        """
        clips = list(data['inputs'])
        count = 1 if self.static_frames is not None else len(clips[0])
        self._check_segments(count)
        for first in range(0, count, self.num_segments):
            last = first + self.num_segments
            view = clips if count == 1 else [clip[first:last] for clip in clips]
            batch = dict(inputs=view, data_samples=data['data_samples'])
            yield from self.views(self.data_preprocessor(batch, training=False)['inputs'])

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One optimiser step on videos, or on ``tokens`` ``(B, N, C)`` that were encoded before."""
        if 'tokens' not in data:
            return super().train_step(data, optim_wrapper)
        with optim_wrapper.optim_context(self):
            tokens = self.data_preprocessor.cast_data(data['tokens'])
            losses, logged = self.parse_losses(self.cls_head.loss(tokens, data['data_samples']))
        optim_wrapper.update_params(losses)
        return logged

    def val_step(self, data: dict) -> list[BaseDataElement]:
        """Predictions for a batch as the loader gives it, see ``views_of_batch``."""
        samples = self.data_preprocessor.cast_data(data['data_samples'])
        return self.cls_head.predict(self.views_of_batch(data), samples)

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """The same as ``val_step``."""
        return self.val_step(data)

    def extract_feat(
        self,
        inputs: Tensor,
        stage: str = 'backbone',
        data_samples: Any = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict]:
        """Features, and no keyword arguments for the head.

        Args:
            inputs: see ``views``.
            stage: ``backbone`` for tokens, ``head`` for logits.
            data_samples: unused.
            test_mode: give an iterator over all views instead of the only view.
        """
        if stage not in ('backbone', 'head'):
            raise ValueError(f"stage={stage!r} of ProbeRecognizer is not 'backbone' or 'head'")
        views = self.views(inputs)
        if test_mode:
            return views, {}
        feats = next(views)
        if next(views, None) is not None:
            raise ValueError(
                'training takes one spatial view: num_clips of the training pipeline must equal '
                f'model.num_segments={self.num_segments}'
            )
        return (self.cls_head(feats) if stage == 'head' else feats), {}

    def predict(
        self, inputs: Tensor, data_samples: list[BaseDataElement], **kwargs: Any
    ) -> list[BaseDataElement]:
        """Probabilities averaged over views, see ``ProbeHead.predict``."""
        return self.cls_head.predict(self.views(inputs), data_samples, **kwargs)


def resolve_backbone(backbone: dict | None, encoder: str | None) -> dict | None:
    """The encoder's config: as given, or as recorded in the checkpoint; None without either.

    Raises:
        ValueError: if the checkpoint does not say what its encoder is.
    """
    if backbone is not None:
        return plain_config(backbone)
    if encoder is None:
        return None
    checkpoint = read_checkpoint(encoder)
    stored = stored_backbone(checkpoint)
    if stored is None:
        raise ValueError(
            f'{encoder} records no configuration of its encoder: give it as model.backbone'
        )
    require_room(stored, checkpoint, encoder)
    return plain_config(stored)
