"""What is read from the source is what Python itself says of the imported class."""

import inspect

import pytest

from nextvid_mm.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, OPTIMIZERS, TRANSFORMS
from nextvid_mm.signatures import candidates, is_alias, registered_names, signature


@pytest.mark.parametrize('registry', [DATASETS, HOOKS, LOOPS, METRICS, MODELS, TRANSFORMS])
def test_signatures_of_this_package_are_those_of_its_classes(registry):
    registry.import_from_location()
    seen = 0
    for name, kind in registry.module_dict.items():
        if not kind.__module__.startswith('nextvid_mm.') or not inspect.isclass(kind):
            continue
        said = signature(name)
        assert said is not None, (name, kind)
        parameters = dict(inspect.signature(kind).parameters)
        open_ = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = {
            n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        assert names <= set(said.arguments), name
        if not open_:
            assert names == set(said.arguments), name
            assert not said.open
            needed = {n for n in names if parameters[n].default is inspect.Parameter.empty}
            assert said.required == needed, name
        seen += 1
    assert seen


def test_other_libraries_are_read_alike():
    from torch.optim import AdamW

    assert OPTIMIZERS.get('AdamW') is AdamW
    assert set(signature('AdamW').arguments) == set(inspect.signature(AdamW).parameters)
    resize = signature('mmaction.Resize')
    assert set(resize.arguments) == {'scale', 'keep_ratio', 'interpolation', 'lazy'}
    assert resize.required == {'scale'}
    assert signature('mmaction.NoSuchThing') is None
    assert signature('no_such_package.Thing') is None


def test_functions_and_fields_are_signatures_too():
    assert set(signature('nextvid_mm.collate_clips').arguments) == {'samples'}
    stage = signature('Stage')
    assert 'micro_batch_size' in stage.arguments
    assert stage.required == {'name', 'steps', 'lr', 'tau_samples', 'num_frames', 'batch_size'}


def test_names_that_could_have_been_meant():
    assert {'CausalViT', 'LoggerHook', 'AdamW'} <= set(candidates('CausalVit'))
    assert 'mmaction.VideoDataset' in candidates('mmaction.VideoDatset')
    assert 'EMAHook' in registered_names('nextvid_mm')
    assert is_alias('LN', 'mmcv')
    assert not is_alias('CausalVittt')
