"""The rotation of queries or keys by themselves, which layers cut out of a joint projection."""

from nextvid_mm.layers.rope import split_rotated


def apply_rope(x, table):
    """Rotate queries or keys ``(B, heads, T * N, D)`` by the table of their tokens."""
    return split_rotated(x.transpose(1, 2)[:, :, None], table, rotated=1)[0]
