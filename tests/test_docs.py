"""Every command in README and docs is real: its tool, flags, files and config keys exist."""

import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from nextvid_mm.cli import make_parser
from nextvid_mm.engine.probe.features import DEFAULT_CACHE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')])
SHELL_TOOLS = {
    f'{launcher}_{tool}.sh': f'{tool}.py'
    for launcher in ('dist', 'slurm')
    for tool in ('train', 'test')
}


def commands(page):
    """Commands of the bash blocks of a page, continuation lines joined, comments dropped."""
    found = []
    for block in re.findall(r'```bash\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):  # environment variables
                words.pop(0)
            if words:
                found.append(words)
    return found


TOOL_COMMANDS = [
    pytest.param(words, id=f'{page.stem}: {" ".join(words)[:60]}')
    for page in PAGES
    for words in commands(page)
    if any(word.startswith('tools/') for word in words)
    or (words[0] == 'nextvid' and words[1:] != ['--help'])
]


@cache
def help_of(tool):
    """What ``--help`` of a tool prints, asked in this process: imports are paid for once."""
    if tool != 'benchmark.py':
        return make_parser(tool.removesuffix('.py')).format_help()
    printed, argv = [], sys.argv
    write = sys.stdout.write
    sys.argv = [tool, '--help']
    try:
        sys.stdout.write = lambda text: printed.append(text) or len(text)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    finally:
        sys.stdout.write, sys.argv = write, argv
    assert end.value.code in (0, None), tool
    return ''.join(printed)


@pytest.mark.parametrize('words', TOOL_COMMANDS)
def test_tool_flags_and_configs_exist(words):
    if words[0] == 'nextvid':
        words = [f'tools/{words[1].replace("-", "_")}.py', *words[2:]]
    place = next(n for n, word in enumerate(words) if word.startswith('tools/'))
    tool = Path(words[place])
    assert (ROOT / tool).is_file(), tool
    text = help_of(SHELL_TOOLS.get(tool.name, tool.name)) if tool.suffix != '.md' else ''
    for word in words[place + 1 :]:
        if word.startswith('--'):
            flag = word.split('=')[0]
            assert re.search(rf'{re.escape(flag)}\b', text), f'{tool} knows no {flag}'
        if word.startswith('configs/') and not (ROOT / word).is_file():
            assert 'my_' in word, f'{word} is neither there nor a name for your own file'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', page.read_text(encoding='utf-8')):
        if not target.startswith(('http', 'mailto')):
            assert (page.parent / target).exists(), f'{page.name}: {target}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_python_blocks_compile(page):
    for block in re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL):
        compile(block.replace('...,', '').replace('...', 'None'), page.name, 'exec')


def test_the_site_builds_without_a_broken_link(tmp_path):
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir']
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / 'reference/nextvid_mm.models.predictors/index.html').read_text()
    assert 'QFormerPredictor' in reference


def test_the_code_tour_passes_files_that_are_there():
    page = (ROOT / 'docs' / 'code_tour.md').read_text(encoding='utf-8')
    named = re.findall(r'`([\w/]+(?:\.py|/))`', page)
    assert len(named) > 30
    missing = [name for name in named if not (ROOT / 'nextvid_mm' / name).exists()]
    assert [name for name in missing if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_index():
    index = (ROOT / 'docs' / 'README.md').read_text(encoding='utf-8')
    missing = [
        page.name for page in PAGES if page.parent == ROOT / 'docs' and page.name not in index
    ]
    assert [name for name in missing if name != 'README.md'] == []


def test_the_data_page_lists_every_path_of_the_configs():
    page = (ROOT / 'docs/data.md').read_text(encoding='utf-8')
    files = [*(ROOT / 'configs').rglob('*.py')]
    used = {path for file in files for path in re.findall(r"'(data/\w[^']*)'", file.read_text())}
    assert 'data/diving48/diving48_val_list_videos.txt' in used
    assert [p for p in sorted(used) if f'`{p}`' not in page and p != 'data/imagenet'] == []


def config_of_page(tmp_path, *marks):
    """The blocks of docs/data.md that hold the marks, saved as one config beside the project's."""
    page = (ROOT / 'docs/data.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    text = ''.join(block for mark in marks for block in blocks if mark in block)
    path = tmp_path / 'mine.py'
    path.write_text(text.replace("'./", f"'{ROOT / 'configs/nextvid'}/"))
    return Config.fromfile(path)


def test_the_config_for_ones_own_videos_is_complete(tmp_path):
    sources = config_of_page(tmp_path, './vit-tiny_demo.py').train_dataloader.dataset.sources
    assert [source.name for source in sources] == ['mine']


def test_the_published_masks_for_larger_grids_are_those(tmp_path):
    config = config_of_page(tmp_path, './vit-tiny_demo.py', "queries='hidden'")
    (masks,) = (step for step in config.pack if step.type == 'FrameIsolatedMasking')
    published = Config.fromfile(ROOT / 'configs/nextvid/vit-l_4stage.py')
    (theirs,) = (s for s in published.pack if s.type == 'FrameIsolatedMasking')
    assert {(s.num_blocks, s.scale) for s in masks.strategies} == {
        (s.num_blocks, s.scale) for s in theirs.strategies
    }
    assert config.model.queries == 'hidden'
    assert config.model.backbone.img_size == config.size


def test_a_mixture_of_public_datasets_is_made_of_the_published_one(tmp_path):
    sources = config_of_page(tmp_path, 'public = (').train_dataloader.dataset.sources
    assert [source.name for source in sources] == ['imagenet', 'ssv2', 'kinetics400']


def test_encoders_do_not_overwrite_each_others_results():
    probing = [
        words
        for page in PAGES
        if page.name != 'README.md'
        for words in commands(page)
        if 'tools/test.py' in words and '--from-json' not in words
    ]
    assert len(probing) >= 5
    assert [words for words in probing if '--work-dir' not in words] == []


def test_features_are_not_written_into_the_cache_of_the_probes():
    outputs = [
        words[words.index('--out') + 1]
        for page in PAGES
        for words in commands(page)
        if '--out' in words
    ]
    assert outputs
    assert DEFAULT_CACHE not in outputs


def test_the_checkpoints_that_commands_name_are_those_the_demo_ends_with():
    stages = Config.fromfile(ROOT / 'configs/nextvid/vit-tiny_demo.py').train_cfg.stages
    last = sum(stage.steps for stage in stages)
    texts = [page.read_text(encoding='utf-8') for page in PAGES]
    texts += [tool.read_text(encoding='utf-8') for tool in (ROOT / 'nextvid_mm/cli').glob('*.py')]
    runs = r'work_dirs/(?:demo/seed_\d+|vit-tiny_demo|my_videos)'
    commands = re.sub(r'```text\n.*?```', '', '\n'.join(texts), flags=re.DOTALL)  # no recordings
    named = re.findall(rf'{runs}/iter_(\d+)\.pth', commands)
    assert len(named) >= 4
    assert {int(steps) for steps in named} == {last}
