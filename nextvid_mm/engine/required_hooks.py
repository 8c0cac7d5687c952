"""The hooks that stage training cannot do without.

A list in a config replaces the one it inherits: whoever writes ``custom_hooks = [...]`` to add a
hook loses those of the base config, and nothing would fail.
"""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.engine.hooks.ema import EMAHook
from nextvid_mm.engine.hooks.stage import StageHook
from nextvid_mm.registry import unwrap


def require_hooks(runner: Runner) -> None:
    """Make sure that what the stage table asks for is carried out.

    Args:
        runner: The Runner, with its hooks and model.

    Raises:
        ValueError: If there is no ``StageHook``, or if the model has a reference encoder and there
            is no ``EMAHook`` to move it. Names the hooks found and the line to write.
    """
    model = unwrap(runner.model)
    _require(runner, StageHook, "nobody would set the stages' tau_samples")
    if getattr(model, 'reference', None) is not None:
        _require(
            runner,
            EMAHook,
            'model.reference would stay at its first weights (EMAHook with momentum=1 does that)',
        )


def _require(runner: Runner, kind: type[Hook], consequence: str) -> None:
    if any(isinstance(hook, kind) for hook in runner.hooks):
        return
    found = ', '.join(type(hook).__name__ for hook in runner.hooks)
    raise ValueError(
        f'no {kind.__name__} among the hooks ({found}): {consequence}. A list in a config replaces '
        'the inherited one; add to it instead: custom_hooks = [*_base_.custom_hooks, dict(...)]'
    )
