import pytest
from mmengine.config import Config

from nextvid_mm.models.checkpoints import config_text, parse_config, read_config


def test_a_config_comes_back_exactly_in_either_form(tmp_path):
    config = Config(
        dict(
            scale=(-1, 256),
            labels={86: 87},
            nested=[dict(type='x', lrs=[1e-3, 2.0]), None, True],
            empty=(),
            note="it's {braces}\n",
        )
    )
    for text in (config_text(config), config.pretty_text):
        assert parse_config(text, 'x') == config.to_dict()
    (tmp_path / 'c.py').write_text(config_text(config))
    assert read_config(tmp_path / 'c.py').scale == (-1, 256)


def test_a_wanted_key_is_read_whatever_else_is_there():
    text = 'import os\na = os.getcwd()\nb = dict(c=[1, 2])\n'
    assert parse_config(text, 'x', ['b']) == dict(b=dict(c=[1, 2]))
    assert parse_config(text, 'x', ['d']) == {}


@pytest.mark.parametrize(
    'line',
    [
        "open({evil!r}, 'w')",
        "a = open({evil!r}, 'w')",
        "a = dict(b=[__import__('os').mkdir({evil!r})])",
        "a = dict(**open({evil!r}, 'w'))",
        "a = [open({evil!r}, 'w') for _ in range(1)]",
        "with open({evil!r}, 'w'): pass",
        "a, b = open({evil!r}, 'w'), 1",
    ],
)
def test_code_is_refused_and_not_run(tmp_path, line):
    evil = tmp_path / 'evil'
    (tmp_path / 'c.py').write_text('fine = 1\n' + line.format(evil=str(evil)) + '\n')
    with pytest.raises(ValueError, match=r'c\.py: its config, line 2, is code .*never run'):
        read_config(tmp_path / 'c.py')
    assert not evil.exists()
