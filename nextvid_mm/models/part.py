"""What the parts of a model have in common, and how they are built.

Encoder, predictor, head and target each have one abstract class (``backbones/base.py``,
``predictors/base.py``, ``heads/base.py``, ``target_generators/base.py``). An algorithm, hook,
stream, probe or memory plan uses nothing else of them, and enters them by calling them, so that
wrappers (FSDP2, ``torch.compile``, forward hooks) see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mmengine.model import BaseModule
from torch import nn

from nextvid_mm.registry import MODELS

Kind = TypeVar('Kind', bound=BaseModule)


class Part(BaseModule):
    """A part of a model, whose depth may be blocks that are all alike.

    Args:
        init_cfg: mmengine initialisation config.

    Attributes:
        blocks: the blocks, one by one compiled, sharded and counted by the memory plan; none here.
    """

    def __init__(self, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.blocks: Any = ()

    @property
    def trunk(self) -> Any:
        """The module that has ``blocks``: this one, or one inside it."""
        return self


def replace_blocks(trunk: Any, blocks: Iterable[nn.Module]) -> None:
    """Let a trunk consist of other blocks, fewer or more: a memory plan counts one and two.

    What a trunk must offer for that: its forward pass goes through ``blocks`` one after the other
    and knows their number from ``depth`` or from ``blocks``.
    """
    trunk.blocks = nn.ModuleList(blocks)
    trunk.depth = len(trunk.blocks)


def part_class(settings: Any, contract: type[Kind], key: str) -> type[Kind]:
    """The class that a part's config names, which must fill a contract.

    Args:
        settings: the part's config.
        contract: the abstract class it must be derived from.
        key: where the part stands in a config, for messages.

    Raises:
        TypeError: if the class is not derived from ``contract`` or lacks one of its methods; names
            both.
    """
    named = settings.get('type') if isinstance(settings, Mapping) else None
    kind = MODELS.get(named) if isinstance(named, str) else named
    if not isinstance(kind, type):
        raise TypeError(f'{key}={settings!r} names no registered class under `type`')
    door = f'{contract.__name__} ({contract.__module__})'
    if not issubclass(kind, contract):
        raise TypeError(f'{key}: {kind.__name__} is not derived from {door}')
    if lacking := sorted(getattr(kind, '__abstractmethods__', ())):
        raise TypeError(f'{key}: {kind.__name__} lacks {", ".join(lacking)} of {door}')
    return kind


def build_part(settings: Any, contract: type[Kind], key: str) -> Kind:
    """Build a part from its config; arguments and errors as in ``part_class``."""
    part_class(settings, contract, key)
    return MODELS.build(settings)
