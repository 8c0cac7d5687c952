"""The optimiser: its groups, and a step that refuses bad gradients."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from nextvid_mm.engine.sharding import whole
from nextvid_mm.engine.stages import GROUPS
from nextvid_mm.layers.precision import check_dtype, resolve_dtype
from nextvid_mm.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    unwrap,
)

ADVICE = (
    'What to try: look at the loss curve before this step; lower the learning rate of this stage '
    'in train_cfg.stages; train without autocast (optim_wrapper.dtype=None) or, instead of '
    "'float16', in 'bfloat16'; check the clips listed in the work directory's "
    'nonfinite_steps.*.jsonl; resume from an earlier checkpoint with --resume PATH.'
)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """An ``OptimWrapper`` with autocast on any device that never applies a non-finite gradient.

    A step whose gradient norm or loss is not finite is skipped, on all processes alike, and
    reported; after ``max_nonfinite`` in a row training stops. The norm is measured over all
    parameter groups together, before clipping.

    A fused optimiser of PyTorch skips by itself: the host waits for nothing, and learns what
    happened when :meth:`read` is called: after every step, or, with ``deferred`` set
    (``NumbersHook`` does that), when somebody wants the numbers. Weights and state are the same
    either way: from the step on that is one too many in a row, nothing is applied.

    Args:
        optimizer: The optimiser.
        dtype: Autocast type of the forward pass: None, 'bfloat16', 'float16' (which adds dynamic
            loss scaling), or 'auto': 'bfloat16' on hardware that is faster in it, else None.
        accumulative_counts: Backward passes per step in loops other than ``StageTrainLoop``, which
            sets its own number by :meth:`begin_step`.
        clip_grad: ``dict(max_norm=..., norm_type=2)``; None measures the norm and does not clip.
        max_nonfinite: Skipped steps in a row that end training.

    Attributes:
        applied: Whether the last step was applied, a tensor on the device; None before the first.
        deferred: The host reads only when :meth:`read` is called.
        skipped_steps: Number of skipped steps since the start of the process, as last read.

    Raises:
        ValueError: If ``dtype`` or a key of ``clip_grad`` is unknown.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str | None = None,
        accumulative_counts: int = 1,
        clip_grad: Mapping[str, float] | None = None,
        max_nonfinite: int = 10,
    ) -> None:
        super().__init__(optimizer, accumulative_counts)
        check_dtype(dtype, 'optim_wrapper.dtype')
        unknown = set(clip_grad or {}) - {'max_norm', 'norm_type'}
        if unknown or (clip_grad is not None and 'max_norm' not in clip_grad):
            raise ValueError(
                f'optim_wrapper.clip_grad={clip_grad}; give dict(max_norm=..., norm_type=2)'
            )
        # MMEngine's stand-in group exists only for logging one 'base_lr'; get_lr() names groups.
        self.base_param_settings = None
        device = optimizer.param_groups[0]['params'][0].device.type
        self.dtype = resolve_dtype(dtype, device)
        self.clip_grad = dict(clip_grad or {})
        self.max_nonfinite = max_nonfinite
        self.scaler = torch.amp.GradScaler(device, enabled=self.dtype is torch.float16)
        self.applied: Tensor | None = None
        self.deferred = False
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._in_a_row = torch.zeros((), device=device)  # the same, ahead of the host
        self._norm: Tensor | None = None
        self._unread: list[tuple[Tensor, Tensor]] = []  # norm and loss scale of a step

    @property
    def grad_norm(self) -> float | None:
        """Gradient norm of the last step (before clipping), None before the first: waits for it."""
        return None if self._norm is None else float(self._norm)

    def begin_step(self, accumulation: int) -> None:
        """Make the next ``accumulation`` calls of :meth:`update_params` one optimiser step."""
        self._accumulative_counts = accumulation
        self._inner_count = 0
        self._max_counts = -1

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass, and hold back gradient synchronisation while accumulating.

        Raises:
            FloatingPointError: After ``max_nonfinite`` skipped steps in a row; not at once, so that
                hooks can record the last of them.
        """
        if self._skipped_in_a_row >= self.max_nonfinite:
            raise FloatingPointError(
                f'the loss or gradient was not finite in {self._skipped_in_a_row} steps in a row '
                f'(optim_wrapper.max_nonfinite). {ADVICE}'
            )
        if prepare := getattr(model, 'prepare_backward', None):  # of a sharded one
            prepare(self.should_sync())
        device = next(model.parameters()).device.type
        enabled = self.dtype is not None
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled):
            yield

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Divide by the accumulation count; a non-finite loss makes every gradient NaN.

        The gradients carry the news to all processes through their reduction, so that all skip the
        step.
        """
        poison = torch.where(loss.detach().isfinite(), 1.0, torch.nan).to(loss.dtype)
        return super().scale_loss(loss) * poison

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Accumulate the gradients of ``loss``."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip and apply the accumulated gradients, or skip them if they are not finite."""
        self.scaler.unscale_(self.optimizer)
        self._norm = norm = self._clip()
        scale = self.scaler.scale(torch.ones_like(norm)).to(norm.dtype)
        finite = norm.isfinite()
        # An overflow at a loss scale that can still be lowered is no reason to give up.
        counted = ~finite & (scale <= 1) if self.scaler.is_enabled() else ~finite
        stopped = self._in_a_row >= self.max_nonfinite
        self.applied = finite & ~stopped
        self._in_a_row = torch.where(self.applied, 0, self._in_a_row + counted)
        self._unread.append((norm, scale))
        if getattr(self.optimizer, '_step_supports_amp_scaling', False):
            self.optimizer.grad_scale = None
            self.optimizer.found_inf = (~self.applied).float()
            self.optimizer.step(**kwargs)
            del self.optimizer.grad_scale, self.optimizer.found_inf
        elif self.applied:
            self.optimizer.step(**kwargs)
        self.scaler.update()
        if not self.deferred:
            self.read()

    def read(self) -> list[bool]:
        """Bring the numbers of the steps since the last call to the host, in one copy, and say it.

        Returns:
            Which of these steps were skipped for their numbers.
        """
        if not self._unread:
            return []
        values = torch.stack([torch.stack(pair) for pair in self._unread]).tolist()
        self._unread.clear()
        return [
            self._note(norm, scale, len(values) - n) for n, (norm, scale) in enumerate(values, 1)
        ]

    def _note(self, norm: float, scale: float, ago: int) -> bool:
        """Count a step; returns whether it was skipped."""
        if self._skipped_in_a_row >= self.max_nonfinite:
            return False  # training should have ended before it
        if math.isfinite(norm):
            self._skipped_in_a_row = 0
            self.message_hub.update_scalar('train/grad_norm', norm)
            return False
        self.skipped_steps += 1
        when = f', {ago} steps ago' if ago else ''
        if self.scaler.is_enabled() and scale > 1:
            print_log(f'gradient overflow at loss scale {scale:g}: step skipped{when}', 'current')
            return True
        self._skipped_in_a_row += 1
        count = f'{self._skipped_in_a_row} of at most {self.max_nonfinite} in a row'
        message = f'non-finite loss or gradient: optimiser step skipped ({count}){when}'
        print_log(message, 'current', logging.WARNING)
        return True

    def _clip(self) -> Tensor:
        """Clip in place if asked to; return the norm before that."""
        groups = self.optimizer.param_groups
        params = [p for group in groups for p in group['params'] if p.grad is not None]
        norm_type = self.clip_grad.get('norm_type', 2.0)
        norm = whole(nn.utils.get_total_norm([p.grad for p in params], norm_type))
        if self.clip_grad:
            nn.utils.clip_grads_with_norm_(params, self.clip_grad['max_norm'], norm)
        return norm

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates by group, as the log names them: ``lr`` and ``flow_lr``."""
        rates: dict[str, list[float]] = {}
        for group in self.optimizer.param_groups:
            tag = group.get('group', 'base')
            rates.setdefault('lr' if tag == 'base' else f'{tag}_lr', []).append(group['lr'])
        return rates

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state, and the loss scaler's if there is one."""
        state = super().state_dict()
        if self.scaler.is_enabled():
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler is not None and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)


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
        self.flow_prefixes: tuple[str, ...] = tuple(options.pop('flow_prefixes', ('head.',)))
        self.no_decay_names = frozenset(options.pop('no_decay_names', ('query',)))
        if options:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg: unknown {sorted(options)}; '
                "known: ['flow_prefixes', 'no_decay_names']"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for ``model``, which may be wrapped for distributed training."""
        optimizer = OPTIMIZERS.build(
            self.optimizer_cfg | dict(params=list(self.groups(unwrap(model))))
        )
        wrapper = dict(type='AutocastOptimWrapper', optimizer=optimizer) | self.optim_wrapper_cfg
        return OPTIM_WRAPPERS.build(wrapper)

    def groups(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """Yield the non-empty param groups of ``model`` in a fixed order."""
        places: dict[tuple[str, bool], list[nn.Parameter]] = {
            (group, decay): [] for group in GROUPS for decay in (True, False)
        }
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                group = 'flow' if name.startswith(self.flow_prefixes) else 'base'
                decay = parameter.ndim > 1 and name.rpartition('.')[2] not in self.no_decay_names
                places[group, decay].append(parameter)
        if not any(places.values()):
            raise ValueError('the model has no parameter that requires a gradient')
        for (group, decay), params in places.items():
            if params:
                name = f'{group}_{"decay" if decay else "no_decay"}'
                entry = dict(params=params, name=name, group=group, decay=decay)
                yield entry if decay else entry | dict(weight_decay=0.0)
