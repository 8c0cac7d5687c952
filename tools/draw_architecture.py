"""Draw the figures of docs/architecture.md again."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nextvid_mm.visualization.architecture import draw_attention_patterns, draw_data_flow
from nextvid_mm.visualization.figures import figure_image


def main() -> None:
    """Write both figures as PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--folder', type=Path, default=ROOT / 'docs' / 'figures', help='where they go'
    )
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    figures = dict(data_flow=draw_data_flow(), attention_patterns=draw_attention_patterns())
    for name, figure in figures.items():
        figure_image(figure).save(folder / f'{name}.png', optimize=True)
        print(folder / f'{name}.png')


if __name__ == '__main__':
    main()
