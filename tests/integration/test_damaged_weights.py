"""Each damaged file of weights, through each tool that opens one: one line that says what it is."""

import io
import pathlib
import pickle
import re
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from nextvid_mm.cli import main
from nextvid_mm.engine.hooks.checkpoint import SafeCheckpointHook
from nextvid_mm.models.checkpoints import EncoderWeights
from nextvid_mm.registry import MODELS
from nextvid_mm.report.run import Run


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


WEIGHTS = {'backbone.w': torch.arange(999.0)}
DAMAGED = {
    'pointer.pth': (b'version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'),
    'pointer.safetensors': (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
    'page.pth': (b'<!DOCTYPE html><html></html>', 'a page of HTML'),
    'empty.pth': (b'', r'is empty \(0 bytes\)'),
    'empty.safetensors': (b'', r'is empty \(0 bytes\)'),
    'cut.pt': (saved(WEIGHTS)[:2000], 'is cut off or damaged'),
    'cut.safetensors': (save(WEIGHTS)[:2000], 'is cut off or damaged'),
    'other.pth': (saved(dict(a=pathlib.PurePosixPath('x'))), 'an object of pathlib.PurePosixPath'),
    'other.pkl': (pickle.dumps(dict(a=1)), 'is a pickle, but none of torch.save'),
}
TOOLS = {
    'extract_features': ('FILE', 'a.png', '--out', 'features'),
    'generate': ('FILE', 'a.png'),
    'stream_demo': ('FILE', 'a.mp4'),
} | {
    f'convert_checkpoint {name}': ('--from', *name.split('+'), 'FILE', 'out.pth')
    for name in ('videomae', 'vjepa', 'vjepa2', 'dinov2', 'dinov3', 'nextvid+--to+safetensors')
}


@pytest.fixture(params=DAMAGED)
def damaged(request, tmp_path, monkeypatch):
    content, message = DAMAGED[request.param]
    (tmp_path / request.param).write_bytes(content)
    (tmp_path / 'a.png').write_bytes(b'')
    monkeypatch.chdir(tmp_path)
    return request.param, message


@pytest.mark.parametrize('tool', TOOLS)
def test_tools(damaged, tool):
    name, message = damaged
    words = [name if word == 'FILE' else word for word in TOOLS[tool]]
    if '--to' in words:
        words[-1] = 'out.safetensors'
    with pytest.raises(SystemExit, match=rf'^{tool.split()[0]}: error: \S*{name} .*') as end:
        main(tool.split()[0], words)
    said = str(end.value.code)
    assert '\n' not in said
    assert re.search(message, said), said


@pytest.mark.parametrize(
    'opens',
    [
        lambda name: EncoderWeights(name)(torch.nn.Linear(1, 1)),
        lambda name: SafeCheckpointHook().before_run(
            SimpleNamespace(_resume=False, _load_from=name)
        ),
        lambda name: Run(pathlib.Path(), {}, None, pathlib.Path(name)).meta,
        lambda name: MODELS.build(dict(type='VAVAETarget', checkpoint=name, base_channels=32,
                                       channel_mult=(1, 1), patch_size=2)).init_weights(),
        lambda name: MODELS.build(dict(type='ProbeRecognizer', encoder=name,
                                       cls_head=dict(type='ProbeHead', num_classes=2))),
    ],
    ids=['init_cfg', 'load_from', 'report', 'targets', 'probe'],
)  # fmt: skip
def test_parts_of_training_testing_caching_and_the_report(damaged, opens):
    name, message = damaged
    with pytest.raises(ValueError, match=f'{name} .*{message}'):
        opens(name)
