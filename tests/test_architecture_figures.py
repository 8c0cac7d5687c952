import runpy
from pathlib import Path

import numpy as np

DRAW = runpy.run_path(str(Path(__file__).resolve().parents[1] / 'docs/draw_architecture.py'))


def test_the_patterns_are_those_of_the_method():
    causal, autoregressive, isolated = (
        np.asarray(axis.images[0].get_array(), dtype=bool)
        for axis in DRAW['draw_attention_patterns'](frames=3, tokens=2).axes
    )
    blocks = np.kron(np.tril(np.ones((3, 3))), np.ones((2, 2))).astype(bool)
    assert (causal == blocks).all()
    # Queries of frames 1 and 2 see what the frame before them may see.
    assert (autoregressive == np.pad(blocks[:4, :4], ((0, 0), (0, 2)))).all()
    assert (isolated == np.kron(np.eye(3), np.ones((2, 2))).astype(bool)).all()


def test_every_box_is_drawn_and_connected():
    texts = {text.get_text() for text in DRAW['draw_data_flow']().axes[0].texts}
    assert {text for _, text, _ in DRAW['_NODES'].values()} <= texts
    assert {name for edge in DRAW['_EDGES'] for name in edge} == set(DRAW['_NODES'])
