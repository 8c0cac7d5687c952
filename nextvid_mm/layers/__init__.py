"""Pure PyTorch building blocks on the regular ``(B, T, N, C)`` token layout."""

from .architectures import ARCHITECTURES, resolve_arch
from .attention import (
    Attend,
    ContextAttention,
    FrameAttention,
    allow_many_shapes,
    prefix_attention,
    run_eagerly,
    sdpa,
    set_attention_backend,
)
from .blocks import (
    AdaLN,
    CausalBlock,
    ContextBlock,
    CrossDiTBlock,
    DiTBlock,
    LeanMlp,
    StreamNorm,
    TimestepEmbed,
    init_transformer,
    modulate,
    set_recompute,
)
from .frame_cache import FrameCache
from .grid import (
    BatchMask,
    ClipBatch,
    TokenGrid,
    TubeletEmbed,
    gather_patches,
    patchify,
    unpatchify,
)
from .lora import add_lora, has_lora, merged, reset_lora, with_updates
from .precision import check_dtype, fast_dtype, resolve_dtype
from .rope import Rope3D, RopeTable, join_tables
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
    'StreamNorm',
    'TimestepEmbed',
    'TokenGrid',
    'TubeletEmbed',
    'add_lora',
    'allow_many_shapes',
    'check_dtype',
    'check_state',
    'fast_dtype',
    'gather_patches',
    'has_lora',
    'init_transformer',
    'join_tables',
    'load_exactly',
    'merged',
    'modulate',
    'patchify',
    'prefix_attention',
    'reset_lora',
    'resolve_arch',
    'resolve_dtype',
    'run_eagerly',
    'sdpa',
    'set_attention_backend',
    'set_recompute',
    'unpatchify',
    'with_updates',
]
