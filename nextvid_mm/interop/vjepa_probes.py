"""Attentive probes that V-JEPA 2's evaluation (arXiv 2506.09985) has saved.

A list of state dicts under ``classifiers``, each name with the prefix ``module.``: ``pooler`` with
``query_tokens``, ``blocks`` and ``cross_attention_block``, and ``linear``.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.layers import check_state
from nextvid_mm.models.checkpoints import read_file

from .converted import require

# The published grid; they list it by weight decay first.
LRS, DECAYS = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4), (0.01, 0.1, 0.4, 0.8)

_CONFIGS = {400: 'k400', 174: 'ssv2', 48: 'diving48', 1000: 'in1k'}  # by number of classes


def read_probes(path: str | Path, width: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the attentive probes that V-JEPA 2's evaluation has saved.

    Of a grid of 20, they are put into the order of ``ProbeHead``: by learning rate first.

    Args:
        path: the file, with a list of state dicts under ``classifiers``.
        width: channels of the encoder they are for.

    Returns:
        Config of a ``ProbeHead``, and the weights of its probes.

    Raises:
        ValueError: if there are none, or they differ in form or have another width.
    """
    found = read_file(path).get('classifiers')
    if not isinstance(found, list) or not found or not isinstance(found[0], Mapping):
        raise ValueError(f'{path} holds no list of probes under classifiers')
    probes = [_rename_probe(_bare(state), f'probe {n} in {path}') for n, state in enumerate(found)]
    for number, probe in enumerate(probes):
        check_state(probe, probes[0], f'probe {number} in {path} beside probe 0')
    own, hidden = probes[0]['query'].shape[0], probes[0]['fc1.weight'].shape[0]
    if own != width:
        raise ValueError(f'the probes in {path} are {own} channels wide, their encoder is {width}')
    if len(probes) == len(LRS) * len(DECAYS):
        probes = [probes[d * len(LRS) + n] for n in range(len(LRS)) for d in range(len(DECAYS))]
    depth = 1 + len({name.split('.')[1] for name in probes[0] if name.startswith('blocks.')})
    pool = dict(depth=depth, output_proj=False, eps=1e-5, init='vjepa')
    head = dict(
        type='ProbeHead', num_classes=probes[0]['classifier.weight'].shape[0], num_heads=16,
        mlp_ratio=hidden / own, standardize=False, pool=pool,
    )  # fmt: skip
    if len(probes) != len(LRS) * len(DECAYS):  # which rates they were trained with is not said
        head.update(lrs=[float(n) for n in range(1, len(probes) + 1)], weight_decays=[0.0])
    return head, {name: torch.stack([p[name] for p in probes]) for name in probes[0]}


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix('module.'): value for name, value in state.items()}


def _rename_probe(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """One probe's weights under the names of ``AttentiveProbes``."""
    cross = 'pooler.cross_attention_block.'
    query, kv = 'pooler.query_tokens', cross + 'xattn.kv.'
    for name in (query, kv + 'weight', kv + 'bias', cross + 'mlp.fc1.weight', 'linear.weight'):
        require(state, name, source)
    key, value = state.pop(kv + 'weight').chunk(2)
    renamed = {
        'query': state.pop(query).flatten(),
        'to_key.weight': key,
        'to_value.weight': value,
        # A bias of the keys has no effect: it shifts all scores of a head alike.
        'to_value.bias': state.pop(kv + 'bias').chunk(2)[1],
    }
    places = {
        cross + 'norm1.': 'norm_tokens.', cross + 'xattn.q.': 'to_query.',
        cross + 'norm2.': 'norm_pooled.', cross + 'mlp.': '', 'linear.': 'classifier.',
        'pooler.blocks.': 'blocks.',
    }  # fmt: skip
    for name, weights in state.items():
        theirs = next((prefix for prefix in places if name.startswith(prefix)), '')
        short = places.get(theirs, '') + name.removeprefix(theirs)
        renamed[short.replace('.attn.', '.').replace('.mlp.', '.')] = weights
    return renamed


def how_to_test(config: Mapping[str, Any], state: Mapping[str, Tensor], output: Path) -> list[str]:
    """What converted probes are, and the command that tests them."""
    classes = config['num_classes']
    name = f'configs/probe/others/vjepa2_{_CONFIGS.get(classes, "DATASET")}.py'
    return [
        f'{len(state["query"])} probes of {classes} classes',
        f'test them: python tools/test.py {name} {shlex.quote(str(output))}',
    ]
