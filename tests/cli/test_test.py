import re
from pathlib import Path


def test_flags_are_mmaction2s(parse):
    import mmaction

    text = (Path(mmaction.__file__).parent / '.mim/tools/test.py').read_text()
    theirs = set(re.findall(r"'--([\w-]+)'", text))
    ours = vars(parse('test', 'config.py', 'probe.pth'))
    assert {name.replace('-', '_') for name in theirs} <= set(ours)
    assert len(theirs) >= 8


def test_the_folder_of_features_is_the_packages(parse):
    from nextvid_mm.engine.probe.features import DEFAULT_CACHE

    args = parse('test', 'config.py', 'a.pth', '--cache-features')
    assert args.cache_features == DEFAULT_CACHE


def test_mistakes_are_one_line(call, tmp_path):
    assert call('test').startswith('test: error: give CONFIG and CHECKPOINT')
    path = tmp_path / 'bad.py'
    path.write_text('test_dataloder = dict()\n')
    assert "Did you mean 'test_dataloader'" in call('test', path, 'probe.pth')
