"""Fine-tuning: learning rates that fall from the head to the first block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from nextvid_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

_KEYS = {
    'layer_decay_rate',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'custom_keys',
}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(LearningRateDecayOptimWrapperConstructor):
    """MMPretrain's layer-wise decay, also for MMAction2's recognizers.

    Layer l of L (0: the patch embedding, block b: b + 1, final norm and head: L - 1 = depth + 1)
    learns at ``lr * layer_decay_rate ** (L - 1 - l)``. Parameters of the same layer and weight
    decay share a group; the head's comes first, whose rate is the one in the log. Frozen
    parameters are left out.

    Args:
        optim_wrapper_cfg: the config's ``optim_wrapper`` without its constructor; an optimiser
            without ``weight_decay`` has 0.
        paramwise_cfg: as MMPretrain's; ``custom_keys`` give each a ``decay_mult``.

    Raises:
        ValueError: If a key is unknown.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        unknown = set(paramwise_cfg or {}) - _KEYS
        if unknown:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg: unknown {sorted(unknown)}; known: {sorted(_KEYS)}'
            )
        for name, settings in (paramwise_cfg or {}).get('custom_keys', {}).items():
            if unknown := set(settings) - {'decay_mult'}:
                raise ValueError(
                    f'optim_wrapper.paramwise_cfg.custom_keys[{name!r}]: unknown '
                    f"{sorted(unknown)}; known: ['decay_mult']: rates follow from layer_decay_rate"
                )
        # MMPretrain logs every parameter's, and ends in a KeyError where there is none.
        optimizer = dict(weight_decay=0.0) | optim_wrapper_cfg['optimizer']
        super().__init__(dict(optim_wrapper_cfg, optimizer=optimizer), paramwise_cfg)

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable[[str], tuple[int, int]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the groups of a module; called by MMEngine for the model, then for its parts."""
        if get_layer_depth is None:
            get_layer_depth = partial(module.backbone.get_layer_depth, prefix='backbone.')
        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
        if prefix == '':
            params[:] = _merged(params)


def _merged(single: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group for each layer and weight decay, deepest first."""
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for entry in single:
        key = -entry['layer_id'], -entry['weight_decay']
        kept = {name: value for name, value in entry.items() if name != 'param_name'}
        group = groups.setdefault(key, kept | dict(params=[]))
        group['params'] += entry['params']
    return [groups[key] for key in sorted(groups)]
