"""The loss of a step as the paper writes it, frame by frame (arXiv 2512.21004, §3).

1 / (T - 1) times the sum over t = 1..T-1 of 0.5 * flow_t + 1.0 * align_t, where flow_t compares
g(h_tau, z_t, tau) with h1 - h0, h1 being the two latents of tubelet t side by side, and align_t
compares the projected z_t with the reference encoder's feature of frame t.
"""

import pytest
import torch
from tiny import PATCH, SIZE, build, clips, samples, wake
from torch import nn

from nextvid_mm.flow import draw_flow
from nextvid_mm.models.target_generators.pretrained import FramewiseTarget

SIDE = SIZE // PATCH


class MeanColours(FramewiseTarget):
    """Stands in for the autoencoder: the latent of a patch is its mean colour."""

    channels = 6

    def rename(self, state):
        return state

    def encode_frames(self, frames):
        return nn.functional.avg_pool2d(frames, PATCH).flatten(2).transpose(1, 2)

    def decode(self, raw, grid):
        raise AssertionError('not needed here')


def make():
    head = dict(
        type='FlowMatchingHead',
        decoder=dict(target_channels=6, condition_channels=12, embed_dims=24, depth=2, num_heads=2),
        tau_samples=2,
    )
    model = build(head=head, target_generator=dict(type='PixelTarget', patch_size=PATCH, pool=4))
    model.target_generator = MeanColours(
        network=nn.Identity(), checkpoint='', latent_channels=3, patch_size=PATCH, tubelet_size=2,
        mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7],
    )  # fmt: skip
    return wake(model)


def two_latents(clip, t, patch):
    """Mean colours of a patch in video frames 2t and 2t + 1, normalised per channel."""
    row, column = divmod(patch, SIDE)
    parts = []
    for frame in (2 * t, 2 * t + 1):
        square = clip[
            :, frame, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH
        ]
        for channel, (mean, std) in enumerate(((0.1, 0.5), (0.2, 0.6), (0.3, 0.7))):
            parts.append((square[channel].mean() - mean) / std)
    return torch.stack(parts)


def by_hand(model, clip, data):
    head, grid = model.head, model.backbone.grid_of(clip)
    patches = model.backbone.patchify(clip)
    reference = model.reference.encoder.encode(clip)
    total, k, T = 0.0, head.tau_samples, grid.tubelets
    for number, mask in enumerate(data.masks):
        z, positions = model.predict_tokens(patches, grid, mask)
        M = positions.shape[1]
        draw = draw_flow(data.seeds_of(number), (T - 1, k), (T - 1, k, M, 6), like=clip)
        for b in range(len(clip)):
            own = positions[b : b + 1]
            rope = head.decoder.spatial_rope(grid, own, copies=1)
            loss = 0.0
            for t in range(1, T):
                z_t = z[b : b + 1, t - 1 : t]
                h1 = torch.stack([two_latents(clip[b], t, p) for p in own[0].tolist()])
                flow = 0.0
                for s in range(k):
                    tau, h0 = draw.tau[b, t - 1, s], draw.noise[b, t - 1, s]
                    h = (1 - tau) * h0 + tau * h1
                    g = head.decoder(h[None, None, None], tau.view(1, 1, 1), z_t, rope)
                    flow = flow + ((g[0, 0, 0] - (h1 - h0)) ** 2).sum() / (k * M * 6)
                c = reference[b, t, own[0]]
                align = ((model.align_head.proj(z_t[0, 0]) - c) ** 2).sum() / (M * c.shape[-1])
                loss = loss + 0.5 * flow + 1.0 * align
            total = total + loss / (T - 1)
    return total / (len(clip) * 2)


@pytest.mark.parametrize('frames', [4, 8])
def test_the_loss_is_the_papers(frames):
    torch.manual_seed(0)
    model, data = make(), samples(visible=(10, 5))
    clip = clips(frames=frames)
    losses = model(clip[:, None], data, mode='loss')
    total = sum(losses.values())
    expected = by_hand(model, clip, data)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = (
        torch.autograd.grad(value, model.backbone.patch_embed.weight)[0]
        for value in (total, expected)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert ours.abs().max() > 0
