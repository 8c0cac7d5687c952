"""Checkpoint files as a training run leaves them, without the training."""

import copy

import torch
from tiny import CONFIG, PATCH, PREPROCESSOR, build, wake

TRAINING = dict(
    train_cfg=dict(stages=[dict(num_frames=8), dict(num_frames=12)]),
    train_dataloader=dict(
        dataset=dict(
            sources=[dict(dataset=dict(pipeline=[dict(type='SampleClipByTime', fps=8)]))],
            pipeline=[
                dict(
                    type='FrameIsolatedMasking',
                    patch_size=PATCH,
                    strategies=[dict(num_blocks=3, scale=0.15)],
                )
            ],
        )
    ),
)


def save_pretrained(path, drop=(), config=True, **changes):
    """Write a tiny NextVid; ``drop`` lists prefixes of weights to leave out, ``changes`` slots."""
    model = build(data_preprocessor=PREPROCESSOR, **changes)
    for part in (model.backbone, model.neck, model.head, model.reference):
        wake(part)  # not the targets, whose weights are published ones
    slots = dict(copy.deepcopy(CONFIG), data_preprocessor=PREPROCESSOR) | changes
    text = ''.join(f'{key} = {value!r}\n' for key, value in (dict(model=slots) | TRAINING).items())
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(tuple(drop))}
    torch.save(dict(state_dict=state, meta=dict(iter=7, cfg=text) if config else {}), path)
    return path
