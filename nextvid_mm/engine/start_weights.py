"""What a new run may start from (``load_from``): a whole model, or an encoder alone."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from torch import Tensor

from nextvid_mm.layers import check_state

_ENCODER, _REFERENCE = 'backbone.', 'reference.encoder.'
_WRAPPED = 'module.'


def fit_start_weights(
    weights: MutableMapping[str, Tensor], present: Mapping[str, Any], what: str
) -> bool:
    """Make sure that a new run starts from all the weights it was given.

    MMEngine only warns of what is missing or left over, and would start with half a model.

    Args:
        weights: The file's state dict, changed in place: an encoder alone is entered a second
            time, for the reference encoder, which would otherwise stay as it was drawn. Names as
            DDP's (``module.``) lose their prefix.
        present: The model's state dict.
        what: Start of the message.

    Returns:
        Whether it is an encoder alone (all names begin with ``backbone.``).

    Raises:
        ValueError: With the missing, unexpected and misshapen tensors.
    """
    for name in [name for name in weights if name.startswith(_WRAPPED)]:
        weights[name.removeprefix(_WRAPPED)] = weights.pop(name)
    alone = bool(weights) and all(name.startswith(_ENCODER) for name in weights)
    if not alone:
        check_state(weights, present, what)
        return False
    encoder = {name: value for name, value in present.items() if name.startswith(_ENCODER)}
    check_state(weights, encoder, what)
    for name in present:
        source = _ENCODER + name.removeprefix(_REFERENCE)
        if name.startswith(_REFERENCE) and source in weights:
            weights[name] = weights[source]
    return True
