"""Image ViTs, applied per frame: timm's own files, and the original ones of DINOv2 and DINOv3.

DINOv2 (arXiv 2304.07193, with registers arXiv 2309.16588): ``blocks.N.ls1.gamma``, ``mask_token``,
``register_tokens``. DINOv3 (arXiv 2508.10104): ``storage_tokens``. timm renames both itself.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nextvid_mm.models.backbones.per_frame_vit import make_timm_vit
from nextvid_mm.models.checkpoints import find_weights, read_file, under

from .converted import Converted, require, split_off
from .transformers_names import settings_beside

CLASSIFIER = ('head.', 'head_dist.')
# Of pretraining and of fixed tables: no part of the encoder.
UNUSED = re.compile(
    r'mask_token$|\.bias_mask$|rope_embed\.periods$|^(dino|ibot)_head\.|^local_cls_'
)
_DINOV2 = {384: 'small', 768: 'base', 1024: 'large', 1536: 'giant'}
# Width and hidden width of the feed-forward layers; SwiGLU has two of them.
_DINOV3 = {
    384: 'small', 768: 'base', 1024: 'large', 1280: 'huge_plus', 4096: '7b',
}  # fmt: skip


def from_timm(path: str | Path, model: str | None = None, key: str | None = None) -> Converted:
    """Convert weights of a ViT that timm knows.

    Args:
        path: a file, or a folder of the Hugging Face Hub.
        model: timm's name of the model, with the tag of the weights where they differ in colours
            (``vit_base_patch16_clip_224.openai``), also as ``timm/NAME`` or ``hf-hub:timm/NAME``.
            None takes that of timm's ``config.json`` beside the weights.
        key: which state dict of the file, see ``find_weights``.

    Raises:
        ValueError: if the model is not given or unknown, or its tag decides the colours and is not
            given.
    """
    said = settings_beside(path)
    name = (model or said.get('architecture') or '').removeprefix('hf-hub:').removeprefix('hf_hub:')
    name = name.rpartition('/')[2]
    if not name:
        raise ValueError(
            "--from timm needs --model, timm's name of the weights, such as "
            'vit_base_patch16_clip_224.openai'
        )
    arch = timm.models.split_model_name_tag(name)[0]
    if not timm.is_model(arch):
        raise ValueError(f'--model {name} is unknown to timm; timm.list_models("vit*") has names')
    if said.get('architecture') == arch and isinstance(said.get('pretrained_cfg'), dict):
        mean, std = _colours(said['pretrained_cfg'], f'{path}: config.json')
    else:
        mean, std = _released_colours(name)
    source = f'timm checkpoint {path}, {name}'
    found = find_weights(read_file(path), source, key)
    return _per_frame(arch, found.state, mean, std, source, found.note)


def from_dinov2(path: str | Path, key: str | None = None) -> Converted:
    """Convert an original file of DINOv2, with or without registers; arguments as above."""
    source = f'DINOv2 checkpoint {path}'
    found = find_weights(read_file(path), source, key)
    state = under(found.state, 'backbone.')
    width = require(state, 'cls_token', source).shape[-1]
    registers = 'reg4_' if 'register_tokens' in state else ''
    name = f'vit_{_size(_DINOV2, width, source)}_patch14_{registers}dinov2'
    # Blocks are numbered inside their chunk as well in checkpoints of training.
    state = {re.sub(r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.', n): v for n, v in state.items()}
    mean, std = _released_colours(name)
    return _per_frame(name, state, mean, std, source, found.note)


def from_dinov3(path: str | Path, key: str | None = None) -> Converted:
    """Convert an original ViT of DINOv3 trained on photographs; arguments as above."""
    source = f'DINOv3 checkpoint {path}'
    found = find_weights(read_file(path), source, key)
    state = under(found.state, 'backbone.')
    width = require(state, 'storage_tokens', source).shape[-1]
    size = _size(_DINOV3, width, source)
    if size == 'small' and any('.mlp.w3.' in name for name in state):
        size = 'small_plus'
    name = f'vit_{size}_patch16_dinov3{"_qkvb" if size != "7b" and _has_biases(state) else ""}'
    # The weights of satellite images were trained with other colours: --from timm knows them.
    mean, std = _released_colours(f'{name}.lvd1689m')
    return _per_frame(name, state, mean, std, source, found.note)


def _has_biases(state: Mapping[str, Tensor]) -> bool:
    """Whether queries or values have a bias; that of the keys is masked in DINOv3."""
    biases = [v.chunk(3) for n, v in state.items() if n.endswith('.attn.qkv.bias')]
    return any(bool(q.any()) or bool(v.any()) for q, _, v in biases)


def _size(names: Mapping[int, str], width: int, source: str) -> str:
    if width not in names:
        known = ', '.join(map(str, names))
        raise ValueError(f'{source}: no published model has the width {width} (known: {known})')
    return names[width]


def _per_frame(
    arch: str, stored: Mapping[str, Tensor], mean: Any, std: Any, source: str, note: str
) -> Converted:
    """The encoder, with names of other projects turned into timm's by timm itself."""
    kept, dropped = split_off(stored, CLASSIFIER)
    with torch.device('meta'):
        vit = make_timm_vit(arch)
    if set(kept) != set(vit.state_dict()):
        unused = tuple(name for name in kept if UNUSED.search(name))
        kept, dropped = _timm_names(arch, vit, kept), dropped + unused
    state = {f'vit.{name}': value for name, value in kept.items()}
    backbone = dict(type='PerFrameViT', model=arch, mean=list(mean), std=list(std))
    return Converted(backbone, state, dropped, source, note)


def _timm_names(arch: str, vit: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What timm does with a file of another project when it loads it, but for other sizes."""
    module = sys.modules[timm.models.model_entrypoint(arch).__module__]
    rename = getattr(module, 'checkpoint_filter_fn', None)
    renamed: dict[str, Tensor] = dict(state)
    if rename is not None:
        with redirect_stdout(io.StringIO()):  # it prints what it does not find
            renamed = rename(dict(state), vit)
    # It stretches patches and positions of another size, which are another encoder's: these stay as
    # they are, to be refused. What it may take from positions are those of the prefix tokens.
    prefix = int(getattr(vit, 'num_prefix_tokens', 1)) * int(vit.num_features)
    for name in {'patch_embed.proj.weight', 'pos_embed'} & set(state) & set(renamed):
        if abs(state[name].numel() - renamed[name].numel()) > prefix:
            renamed[name] = state[name]
    expected = vit.state_dict()
    return {n: v for n, v in renamed.items() if n in expected or not UNUSED.search(n)}


def _released_colours(name: str) -> tuple[Any, Any]:
    """Mean and std of the weights that a tag names; without one, those that all tags share.

    Raises:
        ValueError: if tags differ and none is given, or it is unknown.
    """
    arch, tag = timm.models.split_model_name_tag(name)
    names = timm.list_models(f'{arch}.*', pretrained=True)
    colours = {n: _colours(timm.get_pretrained_cfg(n).to_dict(), n) for n in names}
    if tag and names and name not in colours:
        raise ValueError(f'--model {name}: timm knows the weights {", ".join(names)}')
    if tag and name in colours:
        return colours[name]
    if len({str(value) for value in colours.values()}) > 1:
        listed = '; '.join(f'{n}: mean {m[0]:.3f}, std {s[0]:.3f}' for n, (m, s) in colours.items())
        raise ValueError(
            f'--model {name}: weights of this architecture differ in the colours they were trained '
            f'with (first channel: {listed}); say which with --model NAME.TAG'
        )
    if colours:
        return next(iter(colours.values()))
    return _colours(timm.get_pretrained_cfg(arch).to_dict(), arch)


def _colours(settings: Mapping[str, Any], source: str) -> tuple[list[float], list[float]]:
    found = []
    for key in ('mean', 'std'):
        value = settings.get(key)
        if not isinstance(value, list | tuple) or not all(
            isinstance(v, int | float) for v in value
        ):
            raise ValueError(f'{source}: {key}={value!r} is not three numbers')
        found.append([float(v) for v in value])
    return found[0], found[1]
