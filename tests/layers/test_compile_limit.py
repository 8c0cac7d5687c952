from torch import _dynamo as dynamo

from nextvid_mm.layers.compile_limit import COMPILED_SHAPES, allow_many_shapes


def test_the_limit_is_raised_and_never_lowered():
    before = dynamo.config.recompile_limit
    try:
        for given, expected in ((8, COMPILED_SHAPES), (1000, 1000)):
            dynamo.config.recompile_limit = given
            allow_many_shapes()
            assert dynamo.config.recompile_limit == expected
    finally:
        dynamo.config.recompile_limit = before
