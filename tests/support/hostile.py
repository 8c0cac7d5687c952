"""Files of weights that are damaged, or made to harm: ``hostile_files`` draws them by a seed."""

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save

WEIGHTS = {f'backbone.blocks.{n}.attn.proj.weight': torch.arange(256.0) for n in range(4)}
PAGES = (
    b'<!DOCTYPE html><html><body>Sign in</body></html>',
    b'\n\n  <html lang="en">404</html>',
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
)


class Runs:
    """Pickles as the call of a function; ``marker`` is a file that the call would make."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def saved(content, old=False):
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def header(fields, length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text


def pointer(draw):
    size = draw.randrange(10**6, 10**10)
    return f'version https://git-lfs.github.com/spec/v1\noid sha256:{draw.getrandbits(256):064x}\nsize {size}\n'.encode()  # noqa: E501


def cut(draw, whole):
    return whole[: draw.randrange(1, len(whole) - 200)]


def commands(draw, marker):
    line = f'touch {marker}'
    call = draw.choice(
        [
            Runs(os.system, line),
            Runs(exec, f'open({str(marker)!r}, "w")'),
            Runs(eval, f'open({str(marker)!r}, "w")'),
            Runs(open, str(marker), 'w'),
            Runs(getattr, 'x', 'upper'),
            Runs(os.putenv, 'HOSTILE', '1'),
        ]
    )
    content = draw.choice(
        [call, dict(state_dict=call), dict(state_dict=WEIGHTS, meta=dict(cfg=call)), [call]]
    )
    kind = draw.randrange(4)
    if kind < 2:
        return saved(content, old=bool(kind))
    return pickle.dumps(content, protocol=draw.choice([2, 4, 5]))


def bomb(draw, marker):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}, protocol=2))
        archive.writestr('archive/data/0', bytes(draw.randrange(1, 4) * 2**20))
        archive.writestr('archive/version', '3')
    return stream.getvalue()


def claims_of_zip(draw, marker):
    """A size in the central directory that no file could have."""
    content = bytearray(saved(dict(state_dict=WEIGHTS)))
    place = content.rindex(b'PK\x01\x02')
    content[place + 20 : place + 28] = struct.pack(
        '<II', 2**32 - 2, draw.randrange(2**31, 2**32 - 2)
    )
    return bytes(content)


def claims_of_header(draw, marker):
    tensor = dict(dtype='F32', shape=[2], data_offsets=[0, 8])
    return draw.choice(
        [
            header({}, 2**63 + draw.getrandbits(20)),
            header({}, draw.randrange(10**6, 10**12)),
            header(dict(w=tensor | dict(data_offsets=[0, 2**62]))),
            header(dict(w=tensor | dict(shape=[2**40, 2**40]))) + bytes(8),
            header(dict(w=tensor | dict(shape=[10**12]))) + bytes(8),
            header(dict(w=tensor | dict(dtype='F31'))) + bytes(8),
            header(dict(w=tensor, v=tensor)) + bytes(8),
            header(b'{"w": ' * 5000),
            header(b'[' * 100000),
            header(dict(w=tensor)) + bytes(draw.randrange(9, 99)),
            struct.pack('<Q', 4),
        ]
    )


def claims_of_tensors(draw, marker):
    wide = torch.zeros(1).expand(draw.randrange(10**9, 10**12))
    return saved(draw.choice([dict(w=wide), dict(state_dict={'backbone.w': wide}), [wide]]))


def allocations(draw, marker):
    size = draw.randrange(10**12, 10**14)
    kind = draw.choice([torch.FloatTensor, bytearray])
    return saved(dict(state_dict=Runs(kind, size)))


def wrong_contents(draw, marker):
    record = torch.tensor(list(b'{"path": null}' * draw.randrange(1, 3)), dtype=torch.uint8)
    return saved(
        draw.choice(
            [
                dict(state_dict=[1, 2]),
                dict(state_dict={1: torch.zeros(1)}),
                dict(state_dict=WEIGHTS, meta='no dictionary'),
                dict(state_dict=WEIGHTS | dict(_extra_state=record)),
                OrderedDict(),
                torch.zeros(3),
                {'w': torch.zeros(2).to_sparse()},
            ]
        )
    )


def wrong_configs(draw, marker):
    run = f"__import__('os').system('touch {marker}')"
    sizes = dict(embed_dims=10**6, depth=10, num_heads=10, mlp_ratio=4.0)
    model = draw.choice(
        [
            run,
            f"dict(type='NextVid', backbone={run})",
            "dict(backbone=dict(type='os.system'))",
            "dict(backbone=dict(type='subprocess.Popen', args='touch x'))",
            "dict(backbone=dict(type='CausalViT', arch='giant'))",
            f"dict(backbone=dict(type='CausalViT', arch={sizes | dict(depth=10**9)!r}))",
            f"dict(backbone=dict(type='JointViT', arch={sizes!r}))",
            "dict(backbone=dict(type='PerFrameViT', model='vit_7b_patch16_dinov3'))",
            "dict(backbone=dict(type='CausalViT', bogus=1))",
            '[' * 300,
            '\0',
        ]
    )
    return saved(dict(state_dict=WEIGHTS, meta=dict(cfg=f'model = {model}\n')))


MAKERS = {
    'empty': lambda draw, marker: b'',
    'pointer': lambda draw, marker: pointer(draw),
    'page': lambda draw, marker: draw.choice(PAGES),
    'noise': lambda draw, marker: draw.randbytes(draw.randrange(1, 5000)),
    'cut': lambda draw, marker: cut(draw, saved(dict(state_dict=WEIGHTS))),
    'cut old': lambda draw, marker: cut(draw, saved(dict(state_dict=WEIGHTS), old=True)),
    'cut safetensors': lambda draw, marker: cut(draw, save(WEIGHTS)),
    'command': commands,
    'bomb': bomb,
    'zip': claims_of_zip,
    'header': claims_of_header,
    'tensors': claims_of_tensors,
    'allocations': allocations,
    'contents': wrong_contents,
    'config': wrong_configs,
}


def hostile_files(folder, seed, count):
    """Write ``count`` files and folders; yields kind, path, and the file that none may make."""
    draw = random.Random(seed)
    for number in range(count):
        kind = draw.choice([*MAKERS, 'shards'])
        marker = folder / f'made_by_{number}'
        if kind == 'shards':
            yield kind, shards(folder / f'{number}', draw), marker
            continue
        suffix = draw.choice(['.pth', '.safetensors', '.bin', '.pt'])
        suffix = '.safetensors' if kind in ('header', 'cut safetensors') else suffix
        path = folder / f'{number}{suffix}'
        path.write_bytes(MAKERS[kind](draw, marker))
        yield kind, path, marker


def shards(folder, draw):
    """A folder in several files whose index leads astray."""
    folder.mkdir()
    outside = folder.parent / 'secret.safetensors'
    outside.write_bytes(save(WEIGHTS))
    good = 'model-00001-of-00002.safetensors'
    (folder / good).write_bytes(save(WEIGHTS))
    (folder / 'link.safetensors').symlink_to(outside)
    name = next(iter(WEIGHTS))
    index = draw.choice(
        [
            dict(weight_map={name: '../secret.safetensors'}),
            dict(weight_map={name: str(outside)}),
            dict(weight_map={name: 'link.safetensors'}),
            dict(weight_map={name: good, 'x': 'model-00002-of-00002.safetensors'}),
            dict(weight_map={name: good, 'x': good}),
            dict(weight_map={name: 'model.safetensors.index.json'}),
            dict(weight_map={name: 5}),
            dict(weight_map=[good]),
            dict(weight_map={name: 'a\0b'}),
            [good],
            {},
        ]
    )
    text = draw.choice([json.dumps(index), json.dumps(index), json.dumps(index)[:-1], '[' * 10**5])
    (folder / 'model.safetensors.index.json').write_text(text)
    return folder
