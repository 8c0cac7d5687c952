"""Parameter groups: which learning rate a parameter follows, and whether it decays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from nextvid_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, unwrap


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StageOptimWrapperConstructor:
    """Builds an optimiser over up to four groups: base or flow, with or without weight decay.

    Each group carries ``name``, ``group`` ('base' or 'flow', what ``StageParamScheduler`` reads)
    and ``decay``. Parameters that need no gradient (reference encoder, target generator) are left
    out.

    Args:
        optim_wrapper_cfg: The config's ``optim_wrapper`` without its constructor.
        paramwise_cfg: ``flow_prefixes``: parameters under these follow the flow learning rate
            (default ``['head.']``, the decoder). ``no_decay_names``: parameters whose last name is
            one of these do not decay (default ``['query']``), besides all of at most one dimension:
            biases, norms.

    Raises:
        ValueError: If a key is unknown or no parameter is trainable.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: Mapping[str, Any] | None = None
    ) -> None:
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        if 'optimizer' not in self.optim_wrapper_cfg:
            raise ValueError("optim_wrapper needs an optimizer, such as dict(type='AdamW', ...)")
        self.optimizer_cfg = dict(self.optim_wrapper_cfg.pop('optimizer'))
        options = dict(paramwise_cfg or {})
        self.flow_prefixes: Sequence[str] = tuple(options.pop('flow_prefixes', ('head.',)))
        self.no_decay_names = frozenset(options.pop('no_decay_names', ('query',)))
        if options:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg: unknown {sorted(options)}; '
                "known: ['flow_prefixes', 'no_decay_names']"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for ``model``, which may be wrapped for distributed training."""
        inner = unwrap(model)
        self.optimizer_cfg['params'] = list(self.groups(inner))
        optimizer = OPTIMIZERS.build(self.optimizer_cfg)
        self.optim_wrapper_cfg.setdefault('type', 'AutocastOptimWrapper')
        return OPTIM_WRAPPERS.build(self.optim_wrapper_cfg, default_args=dict(optimizer=optimizer))

    def groups(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """Yield the non-empty param groups of ``model`` in a fixed order."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError('the model has no parameter that requires a gradient')
        for group in ('base', 'flow'):
            for decay in (True, False):
                params = [p for name, p in named if self._place(name, p) == (group, decay)]
                if params:
                    name = f'{group}_{"decay" if decay else "no_decay"}'
                    entry = dict(params=params, name=name, group=group, decay=decay)
                    yield entry if decay else entry | dict(weight_decay=0.0)

    def _place(self, name: str, parameter: nn.Parameter) -> tuple[str, bool]:
        group = 'flow' if name.startswith(tuple(self.flow_prefixes)) else 'base'
        exempt = parameter.ndim <= 1 or name.rpartition('.')[2] in self.no_decay_names
        return group, not exempt
