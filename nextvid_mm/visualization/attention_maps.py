"""Where an attentive probe looks, painted over the video.

Shape legend: T frames (tubelets), H and W patches.
"""

from __future__ import annotations

import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn.functional import interpolate

_DIMMED = 0.5  # brightness that is left of frames under the colours


def overlay_attention(
    clip: Tensor, attention: Tensor, tubelet_size: int, strength: float = 0.8
) -> Tensor:
    """Colour the last frame of every tubelet by the attention on its patches.

    Where there is little attention, the frame is grey and dim; where there is much, it glows.

    Args:
        clip: ``(3, T * tubelet, height, width)`` in [-1, 1].
        attention: ``(T, H, W)``, not negative; only ratios within the clip matter.
        tubelet_size: video frames per tubelet.
        strength: opacity of the colour where attention is highest.

    Returns:
        ``(3, T, height, width)`` in [-1, 1].
    """
    frames = clip[:, tubelet_size - 1 :: tubelet_size]
    size = frames.shape[-2:]
    share = attention[:, None] / attention.max().clamp_min(1e-12)
    share = interpolate(share.float(), size=size, mode='bilinear', align_corners=False)[:, 0]
    share = share.clamp(0, 1)
    colours = torch.from_numpy(colormaps['inferno'](share.numpy())[..., :3]).float()
    colours = colours.permute(3, 0, 1, 2) * 2 - 1
    dim = (frames.float().mean(0, keepdim=True) + 1) * _DIMMED - 1
    return torch.lerp(dim.expand_as(colours), colours, share * strength)
