import pytest
import torch

from benchmarks.worlds.still import main, stillness


def test_a_clip_that_stands_still_is_its_own_copy_but_where_it_changes():
    torch.manual_seed(0)
    clips = torch.rand(3, 3, 1, 32, 32).expand(-1, -1, 8, -1, -1) * 2 - 1
    assert stillness(clips, 16, 4)[0] == 0
    noise = torch.rand(3, 3, 8, 32, 32) * 2 - 1
    assert stillness(noise, 16, 4)[0] == pytest.approx(2, abs=0.1)  # two independent draws
    part = clips.clone()
    part[:, :, :, :16, :16] = noise[:, :, :, :16, :16]
    unexplained, moving = stillness(part, 16, 4)
    assert 0 < unexplained < 1
    assert 0.2 < moving <= 0.25  # one patch of four


def test_the_command_measures_both_worlds(monkeypatch, capsys):
    clips = torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    monkeypatch.setattr('benchmarks.worlds.still.load_clips', lambda *arguments: (clips, None))
    main(['--clips', '2'])
    printed = capsys.readouterr().out
    assert printed.count('demo') == printed.count('bodies') == 2
