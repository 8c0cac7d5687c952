"""Each damaged file of weights, through each tool that opens one: one line that says what it is."""

import inspect
import io
import itertools
import os
import pathlib
import pickle
import re

import pytest
import torch
from caching import fixed_config, write_media
from classifying import NAMES, build_classifier
from finetune_run import finetune_run
from hostile import MAKERS, Runs, hostile_files
from mmengine.runner import Runner
from probe_run import make_videos, probe_run
from safetensors.torch import save
from tiny_training import settings
from toy_training import config as toy_config

from nextvid_mm.cli import main
from nextvid_mm.models.checkpoints import config_text


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


WEIGHTS = {'backbone.w': torch.arange(999.0)}
COMMAND = Runs(os.system, 'touch was_run')
DAMAGED = {
    'pointer.pth': (b'version https://git-lfs.github.com/spec/v1\noid', 'a Git LFS pointer'),
    'pointer.safetensors': (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
    'page.pth': (b'<!DOCTYPE html><html></html>', 'a page of HTML'),
    'empty.pth': (b'', r'is empty \(0 bytes\)'),
    'empty.safetensors': (b'', r'is empty \(0 bytes\)'),
    'cut.pt': (saved(WEIGHTS)[:2000], 'is cut off or damaged'),
    'cut.safetensors': (save(WEIGHTS)[:2000], 'is cut off or damaged'),
    'other.pth': (saved(dict(a=pathlib.PurePosixPath('x'))), 'an object of pathlib.PurePosixPath'),
    'other.pkl': (pickle.dumps(pathlib.PurePosixPath('x')), 'with an object of pathlib.PurePosix'),
    'runs.pth': (saved(dict(state_dict=COMMAND)), r'an object of (posix|os)\.system'),
    'runs.pkl': (pickle.dumps(COMMAND), r'is a pickle with an object of (posix|os)\.system'),
}  # fmt: skip
OPTIONS = '--device', 'cpu', '--cfg-options'
TOOLS = {
    'extract_features': ('FILE', 'a.png', '--out', 'features'),
    'generate': ('FILE', 'a.png'),
    'explore_videos': ('FILE', 'a.png', '--out', 'explored'),
    'stream_demo': ('FILE', 'a.mp4'),
    'stream_demo, a classifier': ('finetune.py', 'FILE', 'a.mp4'),
    'train, load_from': ('pretrain.py', '--cfg-options', 'load_from=FILE'),
    'train, --resume': ('pretrain.py', '--resume', 'FILE'),
    'train, init_cfg': (
        'finetune.py', '--cfg-options', 'model.backbone.init_cfg.checkpoint=FILE',
    ),
    'train, a probe': ('probe.py', '--cfg-options', 'model.encoder=FILE'),
    'train, targets': ('cached.py', '--cfg-options', 'model.target_generator.checkpoint=FILE'),
    'test, a probe': ('probe.py', 'FILE'),
    'test, fine-tuned': ('finetune.py', 'FILE'),
    'evaluate': ('new=FILE', '--data', 'probe.py', '--device', 'cpu'),
    'predict': ('finetune.py', 'FILE', 'a.mp4', '--device', 'cpu'),
    'predict, a work directory': ('work', 'a.mp4', '--device', 'cpu'),
    'cache_latents': ('cached.py', 'out', *OPTIONS, 'model.target_generator.checkpoint=FILE'),
    'compute_latent_stats': (
        'cached.py', 'out.pt', *OPTIONS, 'model.target_generator.checkpoint=FILE',
    ),
    'explain_step': ('cached.py', '--checkpoint', 'FILE', '--device', 'cpu'),
    'propose_config': ('data', '--from', 'FILE', '--dry-run'),
    'report': ('run', '--device', 'cpu'),
} | {
    f'convert_checkpoint, {name}': ('--from', *name.split('+'), 'FILE', 'out.pth')
    for name in (
        'videomae', 'vjepa', 'vjepa2', 'dinov2', 'dinov3', 'nextvid+--to+safetensors',
        'timm+--model+vit_tiny_patch16_224.augreg_in21k',
    )
}  # fmt: skip


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Of no interest here, and slow to look at."""
    monkeypatch.setattr('nextvid_mm.environment.findings', lambda config: [])
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    """All files, a config for each tool, videos, a run, a work directory."""
    root = tmp_path_factory.mktemp('bench')
    for name, (content, _) in DAMAGED.items():
        (root / name).write_bytes(content)
    make_videos(root / 'data')
    (root / 'a.mp4').symlink_to(root / 'data/val/0.mp4')
    (root / 'a.png').write_bytes(b'')
    write_media(root, videos=1, images=1)
    cached = fixed_config(root / 'clips', root / 'images', flip=False)
    cached.model['target_generator'] = dict(
        type='VAVAETarget', checkpoint=None, base_channels=32, channel_mult=(1, 1), patch_size=2
    )
    configs = dict(
        pretrain=toy_config(root / 'toy', **settings()),
        probe=probe_run(root / 'data', root),
        finetune=finetune_run(root / 'data', root, None),
        cached=cached,
    )
    known = {'test_pipeline', *inspect.signature(Runner.__init__).parameters} - {'experiment_name'}
    for name, cfg in configs.items():
        for key in cfg.keys() - known | {'work_dir'}:
            cfg.pop(key, None)
        (root / f'{name}.py').write_text(config_text(cfg))
    (root / 'work').mkdir()
    (root / 'work/finetune.py').write_text(config_text(configs['finetune']))
    (root / 'run/1/vis_data').mkdir(parents=True)
    (root / 'run/1/vis_data/scalars.json').write_text('{"loss": 1.0, "step": 1}\n')
    (root / 'run/config.py').write_text('model = dict()\n')
    return root


def end_of(tool, words):
    """What a command ends with."""
    with pytest.raises(SystemExit) as end:
        main(tool, words)
    return str(end.value.code)


@pytest.mark.parametrize('name', DAMAGED)
@pytest.mark.parametrize('kind', TOOLS)
def test_tools(bench, monkeypatch, kind, name):
    monkeypatch.chdir(bench)
    tool, words = kind.partition(',')[0], [word.replace('FILE', name) for word in TOOLS[kind]]
    if '--to' in words:
        words[-1] = 'out.safetensors'
    given = pathlib.Path(name)
    if kind.endswith('work directory'):
        given = pathlib.Path('work', name)
        (bench / 'work/last_checkpoint').write_text(name)
    if kind == 'report':
        given = pathlib.Path('run/iter_4.pth')
    if not given.exists():
        given.symlink_to(bench / name)
    try:
        said = end_of(tool, words)
    finally:
        if given.is_symlink():
            given.unlink()
    assert re.match(rf'{tool}: error: \S*{given} .*{DAMAGED[name][1]}', said), said
    assert '\n' not in said
    assert not (bench / 'was_run').exists()


@pytest.mark.parametrize('name', [name for name in DAMAGED if name.endswith('.safetensors')])
def test_folders(bench, monkeypatch, name, tmp_path):
    """Of ``--save``, of transformers, and of our own encoders."""
    monkeypatch.chdir(bench)
    folder = tmp_path / 'folder'
    build_classifier(bench / 'data', names=NAMES).save_pretrained(folder)
    (folder / 'model.safetensors').write_bytes((bench / name).read_bytes())
    for tool, *words in (
        ('predict', folder, 'a.mp4', '--device', 'cpu'),
        ('evaluate', folder, '--data', 'probe.py', '--device', 'cpu'),
        ('generate', folder, 'a.png'),
        ('convert_checkpoint', '--from', 'videomae', folder, 'out.pth'),
    ):
        said = end_of(tool, list(map(str, words)))
        assert re.match(rf'{tool}: error: {folder}/model.safetensors .*{DAMAGED[name][1]}', said)
        assert '\n' not in said


def test_two_hundred_hostile_files(bench, monkeypatch, tmp_path):
    """Each through one of four tools in turn: a line that names it, and nothing is run."""
    monkeypatch.chdir(bench)
    monkeypatch.delenv('HOSTILE', raising=False)
    tools, kinds = itertools.cycle([*list(TOOLS)[:3], 'convert_checkpoint, videomae']), set()
    for kind, path, marker in hostile_files(tmp_path, seed=1, count=200):
        kinds.add(kind)
        tool = next(tools)
        words = [str(path) if word == 'FILE' else word for word in TOOLS[tool]]
        tool = tool.partition(',')[0]
        said = end_of(tool, words)
        assert re.fullmatch(rf'{tool}: error: .*{path}.*', said), (kind, said)
        assert not marker.exists(), kind
    assert 'HOSTILE' not in os.environ
    assert kinds == {*MAKERS, 'shards'}
