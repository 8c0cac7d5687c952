"""Command lines in this process: parsed, or run."""

import pytest
from caching import masked_config

from nextvid_mm.cli import main, make_parser


@pytest.fixture
def parse():
    """Parse the words of a tool's command line."""
    return lambda name, *words: make_parser(name).parse_args([str(word) for word in words])


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a tool in an empty folder and return its exit: 0, 1, 2 or the text of an error."""

    def call(name, *words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('LOCAL_RANK', '0')
        try:
            main(name, [str(word) for word in words])
        except SystemExit as end:
            return end.code
        return 0

    return call


@pytest.fixture
def step_config(tmp_path):
    """A training config over videos and images that are there, with two masks."""
    return masked_config(tmp_path)
