"""Which classifier the words of a command line mean; see also tests/cli/test_predict.py."""

import shutil

import pytest
import torch
from classifying import NAMES, save_result
from probe_run import make_videos
from transformers import Dinov2Config, Dinov2Model, ViTImageProcessor

from nextvid_mm.compare import Row
from nextvid_mm.data_checks import label_names
from nextvid_mm.inferencers import FeatureInferencer
from nextvid_mm.inferencers.opening import brought_backbone, encoder_of, open_classifier, read_names
from nextvid_mm.models.backbones import CausalViT
from nextvid_mm.models.checkpoints import config_text


@pytest.fixture
def work(tmp_path):
    """A work directory with two checkpoints of fine-tuning."""
    root = make_videos(tmp_path / 'data')
    cfg, path = save_result(root)
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'run.py').write_text(config_text(cfg) + "clips = dict(type='helper')\n")
    content = torch.load(path, weights_only=True)
    torch.save(content, work / 'iter_2.pth')
    first = next(iter(content['state_dict']))
    content['state_dict'][first] += 1
    torch.save(content, work / 'iter_9.pth')
    (work / 'last_checkpoint').write_text('/somewhere/else/iter_9.pth')
    return root, work


def test_the_newest_checkpoint_is_taken_and_other_words_stay(work):
    _, folder = work
    found, rest = open_classifier([str(folder), 'a.mp4', 'b.mp4'], device='cpu')
    assert rest == ['a.mp4', 'b.mp4']
    state = torch.load(folder / 'iter_9.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())
    older = [str(folder / 'run.py'), str(folder / 'iter_2.pth'), 'a.mp4']
    other, rest = open_classifier(older, device='cpu')
    assert rest == ['a.mp4']
    assert any(not torch.equal(v, state[k]) for k, v in other.model.state_dict().items())


def test_a_probe_comes_before_other_files(work):
    root, folder = work
    cfg, path = save_result(root, 'probe')
    (folder / 'run.py').write_text(config_text(cfg))
    shutil.copy(path, folder / 'probe.pth')
    (folder / 'names.txt').write_text('\n'.join(NAMES))
    found, _ = open_classifier([str(folder)], folder / 'names.txt', 'cpu')
    assert type(found.model).__name__ == 'ProbeRecognizer'
    assert found.names == NAMES


def test_names_may_be_written_on_windows(tmp_path):
    (tmp_path / 'label_map.txt').write_bytes('\ufeffcat\r\ndog\r\n'.encode())
    assert read_names(tmp_path / 'label_map.txt') == ['cat', 'dog']
    assert label_names(tmp_path / 'list.txt', 2) == ['cat', 'dog']


def test_two_configs_are_told(work):
    _, folder = work
    (folder / 'other.py').write_text('x = 1\n')
    with pytest.raises(ValueError, match=r'holds 2 configs \(other.py, run.py\): give CONFIG .*9'):
        open_classifier([str(folder)])


def test_a_config_in_a_work_directory_is_data(work):
    _, folder = work
    (folder / 'run.py').write_text("model = dict(type='os.system')\nimport os\n")
    with pytest.raises(ValueError, match='is code'):
        open_classifier([str(folder)])
    (folder / 'run.py').write_text("model = dict(type='os.system')\n")
    with pytest.raises(ValueError, match="'os.system' in its config is no registered"):
        open_classifier([str(folder)])


def test_any_encoder(tmp_path):
    CausalViT('tiny', img_size=64).save_pretrained(tmp_path / 'ours')
    assert brought_backbone(tmp_path / 'ours') is None
    assert FeatureInferencer(encoder_of(tmp_path / 'ours'), device='cpu').encoder.causal
    config = Dinov2Config(image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1,
                          num_attention_heads=2)  # fmt: skip
    Dinov2Model(config).save_pretrained(tmp_path / 'theirs')
    ViTImageProcessor(do_resize=False).save_pretrained(tmp_path / 'theirs')
    backbone = dict(type='TransformersEncoder', path=str(tmp_path / 'theirs'))
    assert brought_backbone(tmp_path / 'theirs') == backbone
    assert encoder_of(tmp_path / 'theirs').embed_dims == 16
    assert Row('dino', str(tmp_path / 'theirs'), 'encoder', backbone).size == 32
    assert encoder_of(tmp_path / 'a.pth') == tmp_path / 'a.pth'
    (tmp_path / 'iter_4.dcp').mkdir()
    assert brought_backbone(tmp_path / 'iter_4.dcp') is None
