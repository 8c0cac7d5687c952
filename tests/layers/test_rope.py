"""The rotation is a rotation, and what it leaves in a dot product is the relative position."""

import pytest
import torch
from rotating import apply_rope

from nextvid_mm.layers import Rope3D, TokenGrid, join_tables
from nextvid_mm.layers.rope import split_rotated

GRID = TokenGrid(4, 3, 5)


def rotate(x, table):
    """Rotate with float64 tables, written out pair by pair."""
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half], x[..., half:])
    turn = torch.complex(table.cos[..., :half].double(), -table.sin[..., :half].double())
    turned = pairs * turn
    return torch.cat([turned.real, turned.imag], dim=-1)


@pytest.mark.parametrize('head_dim', [6, 8, 32, 64])
def test_it_turns_complex_pairs_and_keeps_their_length(head_dim):
    table = Rope3D(head_dim)(GRID)
    x = torch.randn(2, 3, 60, head_dim, dtype=torch.float64)
    turned = apply_rope(x, table)
    torch.testing.assert_close(turned, rotate(x, table))
    half = head_dim // 2
    before = x[..., :half] ** 2 + x[..., half:] ** 2
    after = turned[..., :half] ** 2 + turned[..., half:] ** 2
    torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('tiled', [False, True])
@pytest.mark.parametrize(('parts', 'rotated'), [(1, 1), (2, 1), (3, 2)])
def test_splitting_and_rotating_in_one_step_has_the_right_values_and_gradients(
    parts, rotated, tiled
):
    grid = TokenGrid(2, 1, 2)
    table = Rope3D(6, tiled_frequencies=tiled)(grid, torch.tensor([[0, 1], [1, 0]]))
    packed = torch.randn(2, 4, parts, 3, 6, dtype=torch.float64, requires_grad=True)
    split = split_rotated(packed, table, rotated)
    for number, part in enumerate(packed.permute(2, 0, 3, 1, 4)):
        x1, x2 = part[..., :3], part[..., 3:]
        turned = part * table.cos + torch.cat([x2, x1], dim=-1) * table.sin
        torch.testing.assert_close(split[number], turned if number < rotated else part)
    # Double precision, but through tables of float32: exact products all the same.
    assert torch.autograd.gradcheck(lambda x: split_rotated(x, table, rotated), packed)


def test_a_dot_product_depends_on_the_distance_only():
    rope = Rope3D(24)
    q, k = torch.randn(2, 1, 1, 1, 24, dtype=torch.float64)

    def product(at_q, at_k):
        def place(x, position):
            t, h, w = position
            grid = TokenGrid(1, 8, 8)
            return apply_rope(x, rope(grid, torch.tensor([[h * 8 + w]]), first_tubelet=t))

        return (place(q, at_q) * place(k, at_k)).sum().item()

    base = product((0, 1, 2), (3, 2, 0))
    assert base == pytest.approx(product((5, 4, 5), (8, 5, 3)), abs=1e-5)
    for moved in ((4, 2, 0), (3, 3, 0), (3, 2, 1)):
        assert abs(base - product((0, 1, 2), moved)) > 1e-3


def test_a_table_of_chosen_patches_is_a_part_of_the_full_one():
    rope = Rope3D(16)
    patches = torch.tensor([[0, 7, 14], [2, 3, 9]])
    full = rope(GRID).cos.view(1, 4, 15, 16)
    part = rope(GRID, patches).cos.view(2, 4, 3, 16)
    for row in range(2):
        torch.testing.assert_close(part[row], full[0][:, patches[row]])


def test_the_first_frame_shifts_time():
    rope = Rope3D(16)
    late = rope(GRID.with_tubelets(2), first_tubelet=2)
    torch.testing.assert_close(late.sin, rope(GRID).sin[:, :, 30:])


def test_a_cast_to_bfloat16_keeps_far_frames_apart():
    rope, grid = Rope3D(16), TokenGrid(3, 1, 1)
    expected = rope(grid, first_tubelet=4000)
    for ours, exact in zip(rope.bfloat16()(grid, first_tubelet=4000), expected, strict=True):
        assert torch.equal(ours, exact)


def test_tiled_frequencies_reproduce_the_released_vjepa2_rotation():
    """Their formula on interleaved pairs, position by position, against our halves."""
    dim = 8  # of one axis
    omega = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    position = torch.arange(5, dtype=torch.float64)[:, None]
    cos, sin = ((position * omega).cos().repeat(1, 2), (position * omega).sin().repeat(1, 2))
    x = torch.randn(5, dim, dtype=torch.float64)
    turned = torch.stack([-x[:, 1::2], x[:, 0::2]], dim=-1).flatten(1)
    theirs = x * cos + turned * sin

    head = torch.zeros(1, 1, 5, 3 * dim, dtype=torch.float64)
    first = torch.arange(dim // 2)  # time comes first in each half of a head
    head[0, 0][:, first], head[0, 0][:, 3 * dim // 2 + first] = x[:, 0::2], x[:, 1::2]
    table = Rope3D(3 * dim, tiled_frequencies=True)(TokenGrid(5, 1, 1))
    ours = apply_rope(head, table)[0, 0]
    torch.testing.assert_close(ours[:, first], theirs[:, 0::2], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours[:, 3 * dim // 2 + first], theirs[:, 1::2], atol=1e-6, rtol=1e-6)


def test_tables_are_not_saved():
    assert not Rope3D(16).state_dict()


@pytest.mark.parametrize('head_dim', [4, 7])
def test_a_head_too_small_or_odd_is_refused(head_dim):
    with pytest.raises(ValueError, match=f'even head dimension of at least 6.*found {head_dim}'):
        Rope3D(head_dim)


def test_joined_tables_are_those_of_tokens_side_by_side():
    rope = Rope3D(12)
    first, second = torch.tensor([[3, 1], [0, 7]]), torch.tensor([[4], [6]])
    joined = join_tables(rope(GRID, first), rope(GRID, second), GRID.tubelets)
    torch.testing.assert_close(joined, rope(GRID, torch.cat([first, second], dim=1)))
    shared = join_tables(rope(GRID, first), rope(GRID), GRID.tubelets)
    everything = torch.arange(15).expand(2, -1)
    torch.testing.assert_close(shared, rope(GRID, torch.cat([first, everything], dim=1)))


def test_a_span_stretches_rows_and_columns_but_not_time():
    wide, narrow = Rope3D(24, span=5), Rope3D(24)
    fine = wide(TokenGrid(3, 9, 9)).cos.view(3, 9, 9, 24)
    coarse = narrow(TokenGrid(3, 5, 5)).cos.view(3, 5, 5, 24)
    torch.testing.assert_close(fine[:, ::2, ::2], coarse)
    assert not torch.allclose(fine, narrow(TokenGrid(3, 9, 9)).cos.view(3, 9, 9, 24))
