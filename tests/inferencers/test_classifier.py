"""One folder that holds a classifier, and what is wrong with folders."""

import shutil

import pytest
import torch
from classifying import NAMES, build_classifier, save_result
from huggingface_hub import ModelCard
from probe_run import make_videos, probe_run, save_encoder
from safetensors.torch import save_file

from nextvid_mm.inferencers import Classifier, classify
from nextvid_mm.inferencers.classifier import FILES


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('classifier'))
    for kind in ('probe', 'finetuned'):
        build_classifier(root, kind).save_pretrained(root / f'folder_{kind}')
    return root


@pytest.fixture
def folder(root, tmp_path):
    """A copy that may be spoilt."""
    return shutil.copytree(root / 'folder_finetuned', tmp_path / 'model')


def scores(classifier, root):
    videos = [root / f'val/{number}.mp4' for number in range(3)]
    return torch.stack([one.scores for one in classify(classifier, videos, progress=False)])


@pytest.mark.parametrize('kind', ['probe', 'finetuned'])
def test_a_folder_gives_back_the_same_classifier(root, kind):
    again = Classifier.from_pretrained(root / f'folder_{kind}', device='cpu')
    expected = scores(build_classifier(root, kind), root)
    assert torch.equal(scores(again, root), expected)
    assert not torch.allclose(expected[0], expected[1])
    assert again.names == NAMES
    assert {path.name for path in (root / f'folder_{kind}').iterdir()} == {*FILES, 'README.md'}
    card = ModelCard.load(root / f'folder_{kind}/README.md')
    assert card.data.pipeline_tag == 'video-classification'
    assert 'dark, grey, bright' in card.text


def test_saving_again_replaces_the_files(folder):
    Classifier.from_pretrained(folder, device='cpu').save_pretrained(folder)
    assert Classifier.from_pretrained(folder, device='cpu').names == NAMES


@pytest.mark.parametrize('name', FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f'model lacks {name}; a model folder holds'):
        Classifier.from_pretrained(folder, device='cpu')


def test_a_foreign_file_is_named(folder):
    (folder / 'notes.md').write_text('allowed')
    Classifier.from_pretrained(folder, device='cpu')
    (folder / 'optimizer.bin').write_bytes(b'x')
    with pytest.raises(ValueError, match=r'optimizer\.bin is no part of a model folder'):
        Classifier.from_pretrained(folder, device='cpu')


def test_files_of_another_model_are_refused(folder, root):
    shutil.copy(root / 'folder_probe/config.py', folder)
    with pytest.raises(ValueError, match=r'config\.py is not the config that model\.safetensors'):
        Classifier.from_pretrained(folder, device='cpu')
    save_file({'x': torch.zeros(1)}, folder / 'model.safetensors')
    with pytest.raises(ValueError, match=r'config\.py is not the config'):
        Classifier.from_pretrained(folder, device='cpu')


def test_a_config_with_code_is_not_run(folder, monkeypatch):
    from nextvid_mm.inferencers import classifier

    text = "model = __import__('os').system('false')\n"
    (folder / 'config.py').write_text(text)
    monkeypatch.setattr(classifier, '_digest', lambda text: None)
    monkeypatch.setattr(classifier, 'read_metadata', lambda *_: {})
    with pytest.raises(ValueError, match='is code'):
        Classifier.from_pretrained(folder, device='cpu')
    (folder / 'config.py').write_text("model = dict(type='os.system')\ntest_pipeline = []\n")
    with pytest.raises(ValueError, match=r"'os.system' in its config is no registered"):
        Classifier.from_pretrained(folder, device='cpu')


def test_the_number_of_names_is_that_of_the_classes(folder, root):
    (folder / 'classes.txt').write_text('one\ntwo\n')
    with pytest.raises(ValueError, match='2 class names for 3 classes'):
        Classifier.from_pretrained(folder, device='cpu')
    cfg, path = save_result(root)
    (root / 'label_map.txt').write_text('a\nb\nc\n')
    assert Classifier.from_files(cfg, path, device='cpu').names == ['a', 'b', 'c']
    (root / 'label_map.txt').unlink()
    assert Classifier.from_files(cfg, path, device='cpu').names == ['0', '1', '2']


def test_other_classes_than_the_checkpoints_are_refused(root):
    cfg, path = save_result(root)
    cfg.model.cls_head.num_classes = 5
    with pytest.raises(ValueError, match=r'finetuned\.pth.*(?s:.*)other shape.*classifier'):
        Classifier.from_files(cfg, path, device='cpu')


def test_an_encoder_is_no_classifier(root):
    cfg = probe_run(root, root / 'out')
    with pytest.raises(ValueError, match=r'holds no trained probe; tools/test\.py'):
        Classifier.from_files(cfg, save_encoder(root / 'encoder.pth'), device='cpu')
