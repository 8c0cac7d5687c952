"""Every mistake of the table gets its message: none is accepted, none shows a traceback.

The table of docs/mistakes.md is made from :data:`MISTAKES`: ``python tests/test_mistakes.py``; with
``--measure`` it says what the mistakes cost.
"""
# ruff: noqa: E501

import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nextvid_mm.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/mistakes.md'
DEMO = 'nextvid/vit-tiny_demo.py'

# What is given to --cfg-options of tools/train.py, and what is said.
OPTIONS = {
    'default_hooks.checkpoint.intervall=100': "Did you mean 'interval'?",
    'default_hooks.checkpont.interval=100': "has no type. Did you mean 'checkpoint'?",
    'default_hooks.checkpoint.interval=often': "found 'often', where int is needed",
    'default_hooks.checkpoint.interval=0': 'found 0, which must be at least 1, or -1 for never',
    'default_hooks.checkpoint.max_keep_ckpts=-3': 'found -3, which must be at least 1',
    'default_hooks.logger.intervall=5': "key 'intervall' of LoggerHook. Did you mean 'interval'?",
    'train_dataloader.dataset.sources.1.weigth=0.5': "sources[1].weigth: nothing reads the key 'weigth'. Did you mean 'weight'?",
    'train_dataloader.dataset.sources.0.weight=-1': 'sources[0].weight: found -1, which must not be negative',
    'train_dataloader.dataset.sources.0.dataset.anno_file=a.txt': "key 'anno_file' of ClipListDataset. Did you mean 'ann_file'?",
    'train_dataloader.num_worker=4': "Did you mean 'num_workers'?",
    'train_dataloader.num_workers=-1': 'found -1, which must not be negative',
    'train_dataloader.num_workers=0': 'persistent_workers: found True beside num_workers=0',
    'train_dataloader.prefetch_factor=0': 'found 0, which must be at least 1',
    'train_dataloader.batch_size=8': 'contradicts the stage table: remove it',
    'train_dataloader.sampler.type=InfiniteSampler': 'StageTrainLoop draws clips by ClipSampler: remove it',
    'train_dataloader.dataset.typ=MixtureDataset': "Did you mean 'type'?",
    'train_dataloader.dataset.type=MixtureDatset': "there is no 'MixtureDatset'. Did you mean 'MixtureDataset'?",
    'train_dataloader.dataset.pipeline.1.patchsize=8': "Did you mean 'patch_size'?",
    'train_dataloader.dataset.pipeline.1.strategies.0.scal=0.5': "strategies[0].scal: nothing reads the key 'scal'. Did you mean 'scale'?",
    'train_dataloader.dataset.sources.0.dataset.pipeline.1.fps=0': 'found 0, which must be larger than 0',
    'train_dataloder.num_workers=2': "Did you mean 'train_dataloader'?",
    'optim_wrapper.optimizer.lr=0.001': 'found 0.001, but the stage table decides it: set lr in train_cfg.stages',
    'optim_wrapper.optimizer.learning_rate=0.001': "key 'learning_rate' of AdamW. Known: amsgrad, betas",
    'optim_wrapper.optimizer.type=AdamWW': "Did you mean 'AdamW'?",
    'optim_wrapper.optimizer.weight_decay=-0.1': 'found -0.1, which must not be negative',
    'optim_wrapper.accumulative_counts=4': 'the stage table decides it: set micro_batch_size',
    'optim_wrapper.clip_grad.max_norm=-1': 'found -1, which must be larger than 0',
    'optim_wrapper.clip_grad.norm=1': "Did you mean 'max_norm'?",
    'optim_wrapper.dtyp=bfloat16': "Did you mean 'dtype'?",
    'optim_wrapper.max_nonfinite=0': 'found 0, which must be at least 1',
    'model.backbone.img_size=-64': 'found -64, which must be at least 1',
    'model.backbone.img_size=70': 'found 70, which is no multiple of patch_size=16',
    'model.backbone.img_size=large': "found 'large', where int is needed",
    'model.backbone.patch_size=0': 'found 0, which must be at least 1',
    'model.backbone.depth=4': "nothing reads the key 'depth' of CausalViT. Known: arch",
    'model.backbone.arch.dept=4': "Did you mean 'depth'?",
    'model.backbone.arch.num_heads=3': 'found 3, which does not divide embed_dims=128',
    'model.backbone.type=CausalVit': "Did you mean 'CausalViT'?",
    'model.neck.num_heads=5': 'found 5, which does not divide embed_dims=128',
    'model.head.decoder.dept=2': "key 'dept' of FrameDiT. Did you mean 'depth'?",
    'model.head.loss_weight=-0.5': 'found -0.5, which must not be negative',
    'model.head.loss_weight=nan': 'found nan, which is no finite number',
    'model.head.tau_sample=2': "Did you mean 'tau_samples'?",
    'model.target_generator.pool=0': 'found 0, which must be at least 1',
    'model.querys=all': "Did you mean 'queries'?",
    'train_cfg.stages.0.step=100': "stages[0].step: nothing reads the key 'step' of Stage. Did you mean 'steps'?",
    'train_cfg.stages.0.steps=0': 'stages[0].steps: found 0, which must be at least 1',
    'train_cfg.stages.0.steps=1e3': 'found 1000.0, where int is needed',
    'train_cfg.stages.0.batch_size=-16': 'found -16, which must be at least 1',
    'train_cfg.stages.0.lr=-0.001': 'found -0.001, which must not be negative',
    'train_cfg.stages.0.num_frames=0': 'found 0, which must be at least 1',
    'train_cfg.stages.1.ema_momentum=1.5': 'found 1.5, which must lie between 0 and 1',
    'train_cfg.val_intervall=5': "Did you mean 'val_interval'?",
    'train_cfg.type=StageTrainLop': "Did you mean 'StageTrainLoop'?",
    'param_scheduler.type=StageParamSchedular': "Did you mean 'StageParamScheduler'?",
    'log_level=LOUD': "found 'LOUD', known are CRITICAL, ERROR",
    'log_processor.window_size=0': 'found 0, which must be at least 1',
    'log_processor.window=20': "key 'window' of LogProcessor. Did you mean 'window_size'?",
    'resume=missing.pth': "found 'missing.pth': give the file as --resume missing.pth",
    'load_from=missing.pth': "load_from: found 'missing.pth': there is no such file",
    'load_from=a,b.pth': "found ['a', 'b.pth'], where str is needed; a text with a comma is quoted",
    'launcher=sbatch': "found 'sbatch', known are none, pytorch, slurm, mpi",
    'randomness.sed=1': "Did you mean 'seed'?",
    'env_cfg.cudnn_benchmak=True': "Did you mean 'cudnn_benchmark'?",
    'env_cfg.dist_cfg.backnd=gloo': "Did you mean 'backend'?",
    'auto_scale_lr.enabled=True': "Did you mean 'enable'?",
    'visualizer.vis_backend=x': "Did you mean 'vis_backends'?",
    'work_dir=3': 'found 3, where str is needed',
    'custom_hooks.0.type=StagHook': "Did you mean 'StageHook'?",
    'custom_hooks.2.interval=0': 'found 0, which must be at least 1',
    'custom_hooks.2.clip=3': "key 'clip' of HealthHook. Did you mean 'clips'?",
    'val_cfg.type=ValLoop': 'val_dataloader: is missing, but val_cfg is set: give all three, or none',
    'train_dataloader': "'train_dataloader' is not KEY=VALUE",
    'model.queries=[a,(b]': 'Imbalanced brackets',
}

# Further flags of tools/train.py.
FLAGS = {
    '--resume nowhere.pth': 'nowhere.pth: there is no such checkpoint',
    '--seed one': "invalid int value: 'one'",
    '--sed 1': 'unrecognized arguments: --sed 1',
    '--launcher slrm': "invalid choice: 'slrm'",
}

# Text of a config file.
FILES = {
    'model = dict(': 'config.py:1: is no Python: ',
    "_base_ = './absent.py'": 'absent.py',
    'import absent_module\n': "No module named 'absent_module'",
    'train_dataloder = dict(num_workers=2)\n': "Did you mean 'train_dataloader'?",
    f"_base_ = 'nextvid_mm::{DEMO}'\ncustom_hooks = [dict(type='StageHook', interval=3)]\n": "config.py:2: custom_hooks[0].interval: nothing reads the key 'interval' of StageHook",
    f"_base_ = 'nextvid_mm::{DEMO}'\ndefault_hooks = dict(checkpoint=dict(intervall=3))\n": 'config.py:2: default_hooks.checkpoint.intervall',
    f"_base_ = 'nextvid_mm::{DEMO}'\nmodel = 3\n": 'model: found 3, where a dict of settings is needed',
}

MISTAKES = [
    *((f'train {DEMO} --cfg-options {text}', said) for text, said in OPTIONS.items()),
    *((f'train {DEMO} {flags}', said) for flags, said in FLAGS.items()),
    ('train absent.py', 'config file absent.py does not exist'),
    ('train', 'the following arguments are required: config'),
    ('trian', "there is no 'trian'; did you mean 'train'?"),
    ('test probe/demo.py', 'give CONFIG and CHECKPOINT, or --from-json RESULTS'),
    ('test --from-json absent.json', 'absent.json'),
    ('report absent', 'absent'),
    ('scan_dataset absent.txt', 'absent.txt'),
    ('scan_dataset absent.txt --workers 0', '0 must be a whole number of at least 1'),
    ('generate absent.pth absent.mp4', 'absent'),
    ('convert_checkpoint absent.pth absent.safetensors', 'are required: --from'),
    ('print_stages absent.py', 'config file absent.py does not exist'),
    (f'print_stages {DEMO} --world-size 7', '7 processes'),
    (f'plan_memory {DEMO} --world-size 0', 'world_size=0 must be a whole number of at least 1'),
    ('extract_features absent.pth absent.mp4', 'are required: --out'),
    ('run_ablations --rows table2_ful', 'table2_ful'),
]


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Run a command line in an empty folder and return what it says at its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def say(*words):
        with pytest.raises(SystemExit) as end:
            main(None, [str(word) for word in words])
        said = capsys.readouterr().err
        assert 'Traceback' not in said
        if isinstance(end.value.code, int):
            assert end.value.code == 2
            return said
        return end.value.code

    return say


@pytest.mark.parametrize(('line', 'message'), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_told(line, message, say, tmp_path):
    said = say(*line.split())
    assert message in said
    assert said.strip().count('\n') == 0
    assert 'error: ' in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('text', 'message'), FILES.items())
def test_a_mistake_in_a_file_is_told(text, message, say, tmp_path):
    (tmp_path / 'config.py').write_text(text)
    said = say('train', 'config.py')
    assert message in said
    assert said.count('\n') == 0


def table():
    """The page's rows."""
    rows = [*MISTAKES, *((f'FILE: {text.strip()}', said) for text, said in FILES.items())]
    rows = [(line.replace('\n', '; ').replace(DEMO, 'CONFIG'), said) for line, said in rows]
    return '\n'.join(f'| `{line}` | {said} |' for line, said in rows)


def test_the_page_has_the_table():
    assert table() in PAGE.read_text(encoding='utf-8')
    assert len(MISTAKES) + len(FILES) >= 80


def measure():
    """Make every mistake in an interpreter of its own; say what that costs, in processor time."""
    lines = [(line.split(), None) for line, _ in MISTAKES]
    lines += [(['train', 'config.py'], text) for text in FILES]
    taken, tracebacks = {}, 0
    for words, text in lines:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / 'config.py').write_text(text or '')
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, '-m', 'nextvid_mm', *words]
            environment = os.environ | dict(PYTHONPATH=str(ROOT))
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in (1, 2), (words, done.returncode)
        tracebacks += 'Traceback' in done.stdout + done.stderr
        taken[' '.join(words) + (text or '')] = sum(
            getattr(after, name) - getattr(before, name) for name in ('ru_utime', 'ru_stime')
        )
    for kind in (True, False):  # of settings; all others
        found = sorted(taken[line] for line in taken if line.startswith('train ') == kind)
        print(f'{"settings" if kind else "others"}: {len(found)}, processor time: median ', end='')
        print(f'{found[len(found) // 2]:.2f} s, longest {found[-1]:.2f} s')
    print(f'{len(lines)} mistakes, {tracebacks} tracebacks')


if __name__ == '__main__' and sys.argv[1:] == ['--measure']:
    measure()
elif __name__ == '__main__':
    text = PAGE.read_text(encoding='utf-8')
    head = '| mistake | what is said |\n|---|---|\n'
    start = text.index(head) + len(head)
    end = re.search(r'\n(?!\|)', text[start:])
    PAGE.write_text(text[:start] + table() + text[start + end.start() :], encoding='utf-8')
