"""``python benchmarks/gpu.py``: ten minutes on a GPU, see ``python -m benchmarks gpu --help``."""

import sys
from pathlib import Path


def main() -> None:
    """As ``python -m benchmarks gpu``, from any folder."""
    sys.path[0] = str(
        Path(__file__).resolve().parents[1]
    )  # what lies beside this file is a package
    sys.argv.insert(1, 'gpu')
    from benchmarks.cli import main as command

    command()


if __name__ == '__main__':
    main()
