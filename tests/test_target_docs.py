"""What docs/targets.md shows is run: its configs, and its commands one after another."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from caching import fixed_config, write_media
from diffusers import AutoencoderKL
from mmengine.config import Config
from mmengine.registry import DefaultScope

from nextvid_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/targets.md').read_text(encoding='utf-8')
CONFIGS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
COMMANDS = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
VAE = dict(
    down_block_types=['DownEncoderBlock2D'] * 3,
    up_block_types=['UpDecoderBlock2D'] * 3,
    block_out_channels=[32, 32, 32],
    layers_per_block=1,
    latent_channels=48,
)


def run(command, config, monkeypatch):
    words = shlex.split(command.replace('CONFIG', str(config)).replace('2048', '8'))
    assert words[0] == 'python'
    monkeypatch.setattr(sys, 'argv', [str(ROOT / words[1]), *words[2:]])
    runpy.run_path(sys.argv[0], run_name='__main__')


def test_the_piece_goes_over_a_config(tmp_path):
    text = CONFIGS[0].replace('./', f'{ROOT}/configs/nextvid/', 1)
    (tmp_path / 'config.py').write_text(text.replace('../_base_', f'{ROOT}/configs/_base_'))
    config = Config.fromfile(tmp_path / 'config.py')
    with DefaultScope.overwrite_default_scope('nextvid_mm'), torch.device('meta'):
        assert MODELS.build(config.model).target_generator.channels == 32


def test_all_pieces_and_their_channels_are_in_the_table():
    for path in (ROOT / 'configs/_base_/targets').glob('*.py'):
        piece = Config.fromfile(path)
        row = next(line for line in PAGE.splitlines() if line.startswith(f'| `{path.name}`'))
        assert f'= {piece.target_head.decoder.target_channels} |' in row, path.name
        assert f'`{piece.target_generator.type}`' in row


def test_every_file_is_in_the_table_and_comes_from_somewhere():
    origins = PAGE[PAGE.index('**Where the files come from**') : PAGE.index('A piece goes over')]
    computed = [command.split()[3] for command in COMMANDS if 'compute_latent_stats' in command]
    for path in (ROOT / 'configs/_base_/targets').glob('*.py'):
        row = next(line for line in PAGE.splitlines() if line.startswith(f'| `{path.name}`'))
        target = Config.fromfile(path).target_generator
        for file in (target.get('checkpoint'), target.get('statistics')):
            if file is not None:
                name = file.removeprefix('checkpoints/')
                assert f'`{name}' in row, file
                (line,) = (line for line in origins.splitlines() if f'`{name}' in line)
                assert 'https://huggingface.co/' in line or file in computed, file


def test_statistics_then_cache_then_training_without_the_autoencoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_media(tmp_path)
    AutoencoderKL(**VAE).save_pretrained('vae')
    config = fixed_config('clips', 'images')
    config.model.target_generator = dict(type='DiffusersVAETarget', checkpoint='vae', patch_size=4)
    config.dump('my_fixed_clips.py')
    run(COMMANDS[0], 'my_fixed_clips.py', monkeypatch)
    config.model.target_generator.statistics = 'checkpoints/siglip2_stats.pt'
    config.merge_from_dict(Config.fromfile(ROOT / 'configs/_base_/default_runtime.py').to_dict())
    schedule = Config.fromfile(ROOT / 'configs/_base_/schedules/demo_4stage.py')
    config.optim_wrapper, config.param_scheduler = schedule.optim_wrapper, schedule.param_scheduler
    config.work_dir = 'work'
    config.dump('my_fixed_clips.py')
    run(COMMANDS[1], 'my_fixed_clips.py', monkeypatch)
    for folder in ('vae', 'checkpoints'):
        (tmp_path / folder).rename(tmp_path / f'{folder}.gone')
    Path('cached.py').write_text(CONFIGS[1].replace('channels=96', 'channels=96, patch_size=4'))
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'cached.py']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(Path('work').rglob('*.pth')), 'the trained model'
