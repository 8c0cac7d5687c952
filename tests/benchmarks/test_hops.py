"""The count of functions on the way of a clip, whose goal is written down here."""

from benchmarks import hops


def test_a_step_is_counted_from_the_loader_to_the_loss(tmp_path):
    seen = hops.step_hops(tmp_path)
    functions = [name for _, name in seen.functions]
    order = ['StageTrainLoop._next', 'MixtureDataset.__getitem__', 'collate_clips', 'NextVid.loss']
    places = [functions.index(name) for name in order]
    assert places == sorted(places)
    assert 'CausalViT.encode_patches' in functions
    assert 'EMAReference.update' not in functions, 'this comes after the backward pass'
    assert 'models/algorithms/nextvid.py' in seen.files
