"""``python -m benchmarks COMMAND``, from the root of the repository."""

from benchmarks.cli import main

main()
