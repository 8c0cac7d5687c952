"""A model of a few numbers on data made up in memory, trained by the true Runner.

It has the attributes the engine relies on (backbone, neck, head, reference) and draws noise and
dropout, so that any slip in seeding shows in the losses.
"""

import copy
import importlib
import itertools
import json
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from nextvid_mm.engine.sharding import ShardedRunner
from nextvid_mm.registry import DATASETS, HOOKS, MODELS

# Now rather than on first use: forked children then need not import them, each for itself.
for module in ('datasets', 'engine', 'models', 'visualization'):
    importlib.import_module(f'nextvid_mm.{module}')
importlib.import_module('matplotlib.pyplot')

_NUMBERS = itertools.count()

STAGES = [
    dict(name='warm-up', steps=4, lr=(1e-3, 5e-3), tau_samples=4, num_frames=2, batch_size=8),
    dict(name='stable 1', steps=3, lr=(5e-3, 4e-3), tau_samples=4, num_frames=2, batch_size=8),
    dict(
        name='stable 2', steps=5, lr=(4e-3, 1e-3), flow_lr=8e-3, tau_samples=1, num_frames=2,
        batch_size=8, ema_momentum=0.9,
    ),
    dict(
        name='cool-down', steps=4, lr=(1e-3, 1e-5), flow_lr=3e-3, tau_samples=1, num_frames=4,
        batch_size=4, ema_momentum=0.95, weight_decay=0.1,
    ),
]  # fmt: skip


@DATASETS.register_module(force=True)
class ToyClips(Dataset):
    """Clips ``(num_frames, 6)`` from their request's seed; ``log`` is a file that lists them."""

    def __init__(self, size=97, log=None):
        self.metainfo = dict(name='toy')
        self.names, self.weights, self.lengths = ('toy',), (1.0,), (size,)
        self.size, self.log = size, log

    def __len__(self):
        return self.size

    def __getitem__(self, request):
        if self.log:
            with open(self.log, 'a') as file:
                file.write(f'{request.position}\n')
        generator = torch.Generator().manual_seed(request.seed)
        return dict(inputs=torch.randn(request.num_frames, 6, generator=generator))


class ToyReference(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.encoder = copy.deepcopy(backbone).requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, backbone, momentum):
        self.updates += 1
        for mine, other in zip(self.encoder.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(other, torch.as_tensor(1 - momentum).to(mine))


class ToyHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.tau_samples = 0
        self.proj = nn.Linear(8, 6)


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(self, dropout=0.1, noise=0.1):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Dropout(dropout))
        self.neck = nn.Linear(8, 8)
        self.head = ToyHead()
        self.reference = ToyReference(self.backbone)
        self.noise = noise

    def forward(self, inputs, data_samples=None, mode='loss'):
        x = torch.stack(list(inputs))
        z = self.neck(self.backbone(x[:, :-1]))
        with torch.no_grad():
            target = self.reference.encoder.eval()(x[:, 1:])
        noise = self.noise * torch.randn(self.head.tau_samples, *x[:, 1:].shape)
        flow = (self.head.proj(z) - x[:, 1:] + noise).square().mean()
        return dict(loss_flow=0.5 * flow, loss_align=(z - target).square().mean())


@HOOKS.register_module(force=True)
class RecordHook(Hook):
    """Appends one line per step to ``file``: the step and everything a resumed run must repeat."""

    priority = 'LOWEST'

    def __init__(self, file):
        self.file = file

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates = [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank:
            return
        line = dict(
            step=runner.iter,
            outputs={key: value.item().hex() for key, value in outputs.items()},
            lr=self.rates,
            grad_norm=runner.optim_wrapper.grad_norm.hex(),
            frames=[len(clip) for clip in data_batch['inputs']],
            tau=getattr(runner.model, 'module', runner.model).head.tau_samples,
        )
        with open(self.file, 'a') as file:
            file.write(json.dumps(line) + '\n')


@HOOKS.register_module(force=True)
class KillHook(Hook):
    """Ends the process without any goodbye, in the middle of step ``step`` or right after it."""

    priority = 'LOWEST'

    def __init__(self, step, middle=False):
        self.step, self.middle = step, middle

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.middle and runner.iter == self.step:
            os._exit(9)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.step:
            os._exit(9)


def read_records(file):
    """Records by step; a step that was trained twice must be the same both times."""
    records = {}
    for line in Path(file).read_text().splitlines():
        record = json.loads(line)
        assert records.setdefault(record['step'], record) == record
    return records


def train(work_dir, *hooks, stages=STAGES, **changes):
    """Build a Runner with checkpoints, records and further hooks, and train to the end."""
    runner = make_runner(work_dir, stages, **changes)
    runner.register_hook(RecordHook(f'{work_dir}/records.jsonl'))
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


class ToyConfig(Config):
    """Formatting the config, once per checkpoint, would take longer than the training."""

    @property
    def pretty_text(self):
        return repr(self.to_dict())


class ToyRunner(Runner):
    """Asking the system for its compilers, likewise."""

    def _log_env(self, env_cfg):
        self.logger.info('toy run')


class ToyShardedRunner(ToyRunner, ShardedRunner):
    """The same for ``runner_type='ShardedRunner'``."""


def config(work_dir, stages=STAGES, **changes):
    """A complete config for the Runner."""
    cfg = dict(
        default_scope='nextvid_mm',
        work_dir=str(work_dir),
        model=dict(type='ToyModel'),
        train_dataloader=dict(
            num_workers=0,
            collate_fn=dict(type='pseudo_collate'),
            dataset=dict(type='ToyClips'),
        ),
        train_cfg=dict(type='StageTrainLoop', stages=list(stages)),
        optim_wrapper=dict(
            type='AutocastOptimWrapper',
            constructor='StageOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.0, betas=(0.9, 0.95), weight_decay=0.04, fused=True),
            clip_grad=dict(max_norm=1.0),
        ),
        param_scheduler=dict(type='StageParamScheduler'),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='SafeCheckpointHook', interval=-1, save_last=False),
            sampler_seed=None,
        ),
        custom_hooks=[dict(type='StageHook'), dict(type='EMAHook')],
        log_processor=dict(by_epoch=False, window_size=1),
        log_level='WARNING',
        randomness=dict(seed=5),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork')),
    )
    cfg = ToyConfig(cfg)
    cfg.merge_from_dict(changes)
    return cfg


def make_runner(work_dir, stages=STAGES, **changes):
    """A Runner that shares no state with those made before it in this process."""
    cfg = config(work_dir, stages, **changes)
    cfg.experiment_name = f'toy{next(_NUMBERS)}'
    kinds = {None: ToyRunner, 'ShardedRunner': ToyShardedRunner}
    return kinds[cfg.get('runner_type')].from_cfg(cfg)
