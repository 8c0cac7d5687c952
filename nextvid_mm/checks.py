"""Checks of values that users write, and what they say; imports nothing."""

from collections.abc import Iterable
from difflib import get_close_matches


def check_count(value: object, key: str, least: int = 1) -> None:
    """Raise unless a value is a whole number of at least ``least``; ``key`` says where it stands.

    Raises:
        ValueError: With key and value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f'{key}={value!r} must be a whole number of at least {least}')


def meant(key: str, allowed: Iterable[str]) -> str:
    """A sentence with the key that was probably meant, or with all that are allowed."""
    close = get_close_matches(key, allowed := sorted(allowed), n=1)
    return f'Did you mean {close[0]!r}?' if close else f'Known: {", ".join(allowed)}.'
