"""The functions between a clip and its loss, and between a checkpoint and its result."""

from benchmarks import hops
from benchmarks.cli import parse, run


def test_a_steady_step_is_counted_from_the_loader_to_the_loss(tmp_path):
    seen = hops.step_hops(tmp_path)
    functions = [name for _, name in seen.functions]
    order = ['MixtureDataset.__getitem__', 'collate_clips', 'NextVid.loss', 'FlowMatchingHead.loss']
    places = [functions.index(name) for name in order]
    assert places == sorted(places)
    assert 'CausalViT.encode_patches' in functions
    assert 'EMAReference.update' not in functions, 'this comes after the backward pass'
    assert 'open_decord' not in functions, 'the cache is warm'
    assert 'models/algorithms/nextvid.py' in seen.files


def test_the_command_shows_a_probe_and_what_is_missed(monkeypatch, capsys):
    monkeypatch.setitem(hops.GOALS, 'probe', (None, 1))
    (report,) = run(parse(['hops', 'probe']))
    functions = [row['function'] for row in report.rows]
    assert functions.index('fit_probe') < functions.index('ProbeHead.loss')
    files = len({row['file'] for row in report.rows})
    assert report.notes == [
        f'probe: {len(functions)} functions in {files} files',
        f'{files - 1} files more than the goal of 1',
    ]
    assert report.notes[0] in capsys.readouterr().out
