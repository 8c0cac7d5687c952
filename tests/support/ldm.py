"""The encoder of latent diffusion, written from its definition and with its names of weights."""

import torch
from torch import nn
from torch.nn.functional import pad, silu


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class Res(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = norm(cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = norm(cout), nn.Conv2d(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        y = self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))
        return y + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x)


class Attn(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (f(h).flatten(2) for f in (self.q, self.k, self.v))
        weight = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(-1)
        return x + self.proj_out((v @ weight.transpose(1, 2)).view_as(x))


def middle(c):
    return nn.ModuleDict(dict(block_1=Res(c, c), attn_1=Attn(c), block_2=Res(c, c)))


class Resample(nn.Module):
    def __init__(self, c, stride):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=stride, padding=0 if stride == 2 else 1)


class Encoder(nn.Module):
    def __init__(self, ch, mult, z):
        super().__init__()
        self.conv_in, widths = nn.Conv2d(3, ch, 3, padding=1), [ch, *(ch * m for m in mult)]
        self.down = nn.ModuleList()
        for level in range(len(mult)):
            cin, cout = widths[level : level + 2]
            part = nn.Module()
            part.block = nn.ModuleList([Res(cin, cout), Res(cout, cout)])
            last = level == len(mult) - 1
            part.attn = nn.ModuleList([Attn(cout), Attn(cout)] if last else [])
            if not last:
                part.downsample = Resample(cout, 2)
            self.down.append(part)
        self.mid = middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * z, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for part in self.down:
            for number, block in enumerate(part.block):
                x = block(x)
                if len(part.attn):
                    x = part.attn[number](x)
            if hasattr(part, 'downsample'):
                x = part.downsample.conv(pad(x, (0, 1, 0, 1)))
        x = self.mid['block_2'](self.mid['attn_1'](self.mid['block_1'](x)))
        return self.conv_out(silu(self.norm_out(x)))


class Decoder(nn.Module):
    """Weights only up to its forward pass, which follows the definition backwards."""

    def __init__(self, ch, mult, z):
        super().__init__()
        width = ch * mult[-1]
        self.conv_in, self.mid = nn.Conv2d(z, width, 3, padding=1), middle(width)
        parts = []
        for level in reversed(range(len(mult))):
            cout, part, last = ch * mult[level], nn.Module(), level == len(mult) - 1
            part.block = nn.ModuleList([Res(width, cout), Res(cout, cout), Res(cout, cout)])
            part.attn = nn.ModuleList([Attn(cout) for _ in range(3)] if last else [])
            if level:
                part.upsample = Resample(cout, 1)
            parts.insert(0, part)
            width = cout
        self.up = nn.ModuleList(parts)
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        x = self.mid['block_2'](self.mid['attn_1'](self.mid['block_1'](x)))
        for part in reversed(self.up):
            for number, block in enumerate(part.block):
                x = block(x)
                if len(part.attn):
                    x = part.attn[number](x)
            if hasattr(part, 'upsample'):
                x = part.upsample.conv(x.repeat_interleave(2, -1).repeat_interleave(2, -2))
        return self.conv_out(silu(self.norm_out(x)))


class LDM(nn.Module):
    def __init__(self, ch=32, mult=(1, 2, 2), z=4):
        super().__init__()
        self.encoder, self.decoder = Encoder(ch, mult, z), Decoder(ch, mult, z)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)

    @torch.no_grad()
    def encode(self, x):
        """Posterior mean."""
        return self.quant_conv(self.encoder(x)).chunk(2, dim=1)[0]

    @torch.no_grad()
    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))
