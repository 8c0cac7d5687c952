"""The tiny NextVid trained by the true Runner on clips made up in memory."""

import tiny
import torch
from mmaction.structures import ActionDataSample
from toy_training import ToyClips, config

from nextvid_mm.registry import DATASETS

STAGES = [
    dict(name='one', steps=3, lr=(1e-3, 2e-3), tau_samples=2, num_frames=4, batch_size=8),
    dict(
        name='two', steps=3, lr=2e-3, flow_lr=3e-3, tau_samples=1, num_frames=8, batch_size=4,
        micro_batch_size=1, ema_momentum=0.9,
    ),
]  # fmt: skip
SHARDED = dict(
    units=['backbone.blocks', 'backbone', 'reference.encoder.blocks', 'reference.encoder'],
)


@DATASETS.register_module(force=True)
class TinyClips(ToyClips):
    """Noise with two masks per clip, from the request's seed."""

    def __getitem__(self, request):
        draw = torch.Generator().manual_seed(request.seed)
        shape = (1, 3, request.num_frames, tiny.SIZE, tiny.SIZE)
        order = torch.randperm((tiny.SIZE // tiny.PATCH) ** 2, generator=draw)
        sample = ActionDataSample()
        sample.masks = [
            dict(visible=order[:count].sort().values, hidden=order[count:].sort().values)
            for count in (10, 5)
        ]
        sample.set_metainfo(dict(sample_seed=request.seed, position=request.position))
        inputs = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
        return dict(inputs=inputs, data_samples=sample)


def settings(sharded=False, with_cp=False, **changes):
    """Changes of the toy config that put the tiny NextVid in the toy model's place."""
    model = tiny.CONFIG | dict(data_preprocessor=tiny.PREPROCESSOR)
    model['backbone'] = model['backbone'] | dict(with_cp=with_cp)
    made = {
        'model': model,
        'train_dataloader.dataset': dict(type='TinyClips'),
        'train_dataloader.collate_fn.type': 'nextvid_mm.collate_clips',
        'custom_hooks': [*config('').custom_hooks, dict(type='HealthHook', interval=2)],
        'default_hooks.checkpoint.interval': 2,
        'default_hooks.checkpoint.save_last': True,
    }
    if sharded:
        made |= dict(runner_type='ShardedRunner', model_wrapper_cfg=dict(SHARDED))
    return made | changes
