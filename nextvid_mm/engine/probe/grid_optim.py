"""The optimiser of a grid of probes: every member has its own learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import AdamW

from nextvid_mm.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    unwrap,
)

PROBE_WRAPPERS = ('OptimWrapper', 'mmengine.OptimWrapper')


@OPTIMIZERS.register_module()
class GridAdamW(AdamW):
    """AdamW over the slices ``p[g]`` of stacked parameters, one parameter group per member.

    A group has the member's own learning rate and weight decay, which applies to all of its
    parameters; schedulers and logs see ordinary groups. Gradients must not be scaled or clipped
    in between: they are on the stacked parameters, and reach the slices in ``step``.

    Args:
        params: parameters ``(G, ...)``, of G members each, with G ``lrs`` and ``weight_decays``.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lrs: Sequence[float],
        weight_decays: Sequence[float],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        self.stacked = list(params)
        for parameter in self.stacked:
            if parameter.ndim == 0 or len(parameter) != len(lrs):
                raise ValueError(
                    f'GridAdamW has {len(lrs)} lrs, but a parameter of shape '
                    f'{tuple(parameter.shape)}: stack members along the first dimension'
                )
        groups = [
            dict(params=[p.detach()[g] for p in self.stacked], lr=lr, weight_decay=decay)
            for g, (lr, decay) in enumerate(zip(lrs, weight_decays, strict=True))
        ]
        super().__init__(groups, betas=tuple(betas), eps=eps, fused=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of the stacked parameters and their slices."""
        for parameter in self.stacked:
            parameter.grad = None
        super().zero_grad(set_to_none)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every slice from its slice of the gradient."""
        for g, group in enumerate(self.param_groups):
            for piece, parameter in zip(group['params'], self.stacked, strict=True):
                piece.grad = None if parameter.grad is None else parameter.grad[g]
        return super().step(closure)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ProbeOptimWrapperConstructor:
    """Builds the optimiser of a probe grid from the members of ``model.cls_head``.

    Args:
        optim_wrapper_cfg: the config's ``optim_wrapper`` without its constructor; its ``optimizer``
            (``GridAdamW`` by default) gets parameters, learning rates and weight decays from here.
        paramwise_cfg: must be None.

    Raises:
        ValueError: for a wrapper that scales, clips or checks gradients before ``step``: it would
            find none, see ``GridAdamW``.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: None = None):
        if paramwise_cfg is not None:
            raise ValueError(
                'optim_wrapper.paramwise_cfg means nothing to a probe grid: set lrs and '
                'weight_decays of model.cls_head'
            )
        self.optim_wrapper_cfg = dict(type='OptimWrapper') | dict(optim_wrapper_cfg)
        if (kind := self.optim_wrapper_cfg['type']) not in PROBE_WRAPPERS:
            raise ValueError(
                f'optim_wrapper.type={kind!r} of a probe grid is not one of '
                f'{", ".join(PROBE_WRAPPERS)}: set model.dtype for autocast of the encoder'
            )
        if self.optim_wrapper_cfg.get('clip_grad') is not None:
            raise ValueError(
                'optim_wrapper.clip_grad means nothing to a probe grid, whose members have '
                'gradients of their own: remove it'
            )
        self.optimizer_cfg = dict(self.optim_wrapper_cfg.pop('optimizer', {}))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for ``model``, which may be wrapped for distributed training."""
        head = unwrap(model).cls_head
        grid = dict(
            params=[p for p in head.parameters() if p.requires_grad],
            lrs=[member.lr for member in head.members],
            weight_decays=[member.weight_decay for member in head.members],
        )
        optimizer = OPTIMIZERS.build(dict(type='GridAdamW') | self.optimizer_cfg | grid)
        return OPTIM_WRAPPERS.build(self.optim_wrapper_cfg | dict(optimizer=optimizer))
