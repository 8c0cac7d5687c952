"""Pictures and curves; importing it registers the hook that draws while a model trains."""

from .hooks import GenerationVisHook
from .sheets import draw_sheet, generation_sheet, show_patches, tile_rows
from .trackers import MLflowVisBackend, WandbVisBackend

__all__ = [
    'GenerationVisHook',
    'MLflowVisBackend',
    'WandbVisBackend',
    'draw_sheet',
    'generation_sheet',
    'show_patches',
    'tile_rows',
]
