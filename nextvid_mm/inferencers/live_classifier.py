"""A classifier fed one picture at a time.

Shape legend: T tubelets, N tokens per tubelet, C channels, H and W patches, K classes.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvid_mm.inferencers.classifier import Classifier
from nextvid_mm.inferencers.media import fit
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.layers import resolve_dtype
from nextvid_mm.models.recognizers import ProbeRecognizer

USUAL_FPS = 30.0  # of a source that does not tell


class LiveClassifier:
    """What the last seconds of a stream show, at a constant cost per picture.

    A causal encoder encodes every tubelet once and remembers ``window`` of them; the head sees the
    tokens of the last clip's tubelets. The first label, after a whole clip, is that of the clip on
    its own (its central view); later ones differ from it, as older tubelets have left traces, see
    :class:`StreamingEncoder`. An encoder that is not causal encodes the last clip again with every
    tubelet: its labels are those of the clips, and cost as much.

    Args:
        classifier: of videos.
        window: tubelets whose keys and values are kept; None takes those of a clip.

    Raises:
        ValueError: for a classifier of images.
    """

    def __init__(self, classifier: Classifier, window: int | None = None) -> None:
        model, steps = classifier.model, classifier.config.test_pipeline
        sampling = next((s for s in steps if str(s['type']).endswith('SampleClipByTime')), None)
        if sampling is None or not hasattr(model, 'cls_head') or getattr(model, 'neck', None):
            raise ValueError(
                f'a stream needs a classifier of clips sampled by SampleClipByTime, with nothing '
                f'between encoder and head; found {type(model).__name__} with '
                f'{[step["type"] for step in steps]}'
            )
        self.classifier, self.model, self.encoder = classifier, model, model.backbone
        self.sampling, self.tubelet = sampling, self.encoder.tubelet_size
        crops = [step['crop_size'] for step in steps if 'crop_size' in step]
        self.size = int(crops[-1]) if crops else self.encoder.img_size
        self.tubelets = max(1, sampling['num_frames'] // self.tubelet)
        self.layers = model.layers if self._is_probe else [self.encoder.depth - 1]
        self.dtype = resolve_dtype(model.dtype, classifier.device) if self._is_probe else None
        self.stream = None
        if self.encoder.streams:
            self.window = window or self.tubelets
            self.stream = StreamingEncoder(self.encoder, self.window, dtype=self.dtype)
        else:
            self.window = self.tubelets
        self.label: tuple[str, float] | None = None
        self.scores: Tensor | None = None
        # Tokens of tubelets, by layer; of an encoder that does not stream, pictures.
        self.recent: deque[Any] = deque(maxlen=self.tubelets * (1 if self.stream else self.tubelet))
        self._fresh = 0

    @property
    def _is_probe(self) -> bool:
        return isinstance(self.model, ProbeRecognizer)

    def fps(self, source: float | None) -> float:
        """Pictures a second that the model wants, of a source with so many; None: unknown."""
        if self.sampling.get('fps'):
            return float(self.sampling['fps'])
        return (source or USUAL_FPS) / self.sampling['frame_interval']

    def reset(self) -> None:
        """Start afresh."""
        self.recent.clear()
        self.label = self.scores = None
        self._fresh = 0
        if self.stream is not None:
            self.stream.reset()

    @torch.no_grad()
    def push(self, picture: NDArray[np.uint8]) -> bool:
        """Take an RGB picture ``(height, width, 3)`` of any size.

        Returns:
            Whether it has completed a tubelet. ``label`` and ``scores (K,)`` are then new, as soon
            as there has been a whole clip.
        """
        frame = self._normal(picture)
        if self.stream is None:
            self.recent.append(frame)
            self._fresh = (self._fresh + 1) % self.tubelet
            if self._fresh:
                return False
            if len(self.recent) == self.recent.maxlen:
                self._answer(self._layers_of_clip(torch.cat(list(self.recent), dim=2)))
            return True
        first = self.layers[0]
        layers = self.stream.push_layers(frame, last=self.encoder.depth - first)
        if not layers[0].shape[1]:
            return False
        self.recent.append([layers[layer - first] for layer in self.layers])
        if len(self.recent) == self.recent.maxlen:
            self._answer([torch.cat(parts, dim=1) for parts in zip(*self.recent, strict=True)])
        return True

    def _normal(self, picture: NDArray[np.uint8]) -> Tensor:
        """``(1, 3, 1, size, size)`` on the scale of the model."""
        frame = torch.tensor(fit(picture, self.size), device=self.classifier.device)
        frame = frame.permute(2, 0, 1)[None, :, None].float()
        scale = self.model.data_preprocessor
        if not getattr(scale, '_enable_normalize', False):
            return frame
        mean, std = (value.to(frame).view(1, 3, 1, 1, 1) for value in (scale.mean, scale.std))
        return (frame - mean) / std

    def _layers_of_clip(self, clip: Tensor) -> list[Tensor]:
        first = self.layers[0]
        with torch.autocast(clip.device.type, self.dtype, enabled=self.dtype is not None):
            layers = self.encoder.encode_layers(clip, last=self.encoder.depth - first)
        return [layers[layer - first] for layer in self.layers]

    def _answer(self, layers: list[Tensor]) -> None:
        """Scores and label from the tokens ``(1, T, N, C)`` of each layer."""
        head: Any = self.model.cls_head
        if self._is_probe:
            tokens = torch.cat([tokens.flatten(1, 2) for tokens in layers], dim=1)
            scores = head(tokens).float().softmax(-1)[0, head.selected]
        else:
            side = self.size // self.encoder.patch_size
            scores = head(layers[-1].unflatten(2, (side, side)).permute(0, 4, 1, 2, 3))
            scores = scores.float().softmax(-1)[0]
        self.scores = scores.cpu()
        best = int(self.scores.argmax())
        self.label = self.classifier.names[best], float(self.scores[best])
