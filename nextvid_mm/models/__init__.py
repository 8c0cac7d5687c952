"""Models; importing this package registers every one of them."""

from nextvid_mm.models import (
    algorithms,
    backbones,
    heads,
    predictors,
    recognizers,
    target_generators,
)

__all__ = [
    'algorithms',
    'backbones',
    'heads',
    'predictors',
    'recognizers',
    'target_generators',
]
