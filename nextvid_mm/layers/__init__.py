"""Pure PyTorch building blocks on the regular ``(B, T, N, C)`` token layout."""

from .adaln import AdaLN, TimestepEmbed, modulate
from .architectures import ARCHITECTURES, resolve_arch
from .attention import (
    Attend,
    ContextAttention,
    FrameAttention,
    prefix_attention,
    sdpa,
    set_attention_backend,
)
from .batch import BatchMask, ClipBatch
from .blocks import CausalBlock, ContextBlock, CrossDiTBlock, DiTBlock
from .compile_limit import allow_many_shapes
from .eager import run_eagerly
from .frame_cache import FrameCache
from .grid import TokenGrid, gather_patches
from .init import init_transformer
from .patch_embed import TubeletEmbed, patchify, unpatchify
from .precision import check_dtype, fast_dtype, resolve_dtype
from .recompute import LeanMlp, set_recompute
from .rope import Rope3D, RopeTable, apply_rope, join_tables
from .state_check import check_state, load_exactly

__all__ = [
    'ARCHITECTURES',
    'AdaLN',
    'Attend',
    'BatchMask',
    'CausalBlock',
    'ClipBatch',
    'ContextAttention',
    'ContextBlock',
    'CrossDiTBlock',
    'DiTBlock',
    'FrameAttention',
    'FrameCache',
    'LeanMlp',
    'Rope3D',
    'RopeTable',
    'TimestepEmbed',
    'TokenGrid',
    'TubeletEmbed',
    'allow_many_shapes',
    'apply_rope',
    'check_dtype',
    'check_state',
    'fast_dtype',
    'gather_patches',
    'init_transformer',
    'join_tables',
    'load_exactly',
    'modulate',
    'patchify',
    'prefix_attention',
    'resolve_arch',
    'resolve_dtype',
    'run_eagerly',
    'sdpa',
    'set_attention_backend',
    'set_recompute',
    'unpatchify',
]
