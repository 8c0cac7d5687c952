from pathlib import Path

PAPER = Path(__file__).resolve().parents[2] / 'configs/nextvid/vit-g_4stage.py'


def test_the_papers_schedule(call, capsys):
    assert call('print_stages', PAPER, '--world-size', 96) == 0
    output = capsys.readouterr().out
    for text in ('132,000', '830.5B', 'cool-down', '0.00045 -> 0.0001', '8 x 4', '16 x 2', '2 x 4'):
        assert text in output


def test_what_does_not_fit_is_one_line(call):
    said = call('print_stages', 'nextvid/vit-g_4stage.py', '--world-size', 7)
    assert said.startswith('print_stages: error: ')
    assert 'over 7 processes' in said
    said = call('print_stages', PAPER, '--cfg-options', 'train_cgf.stages.0.steps=1')
    assert "Did you mean 'train_cfg'" in said
