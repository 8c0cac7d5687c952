"""Pictures, curves and reports."""

from .sheets import generation_sheet, hide_patches, tile_rows

__all__ = ['generation_sheet', 'hide_patches', 'tile_rows']
