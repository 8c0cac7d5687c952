from nextvid_mm.cli.cache_latents import DTYPES


def test_number_formats_are_those_of_the_cache():
    from nextvid_mm.engine import latents

    assert set(DTYPES) == set(latents.DTYPES)


def test_flags(parse):
    args = parse('cache_latents', 'config.py', 'out', '--num-frames', 16, 32)
    assert (args.store, args.num_frames, args.device) == ('bfloat16', [16, 32], None)


def test_a_wrong_config_is_one_line(call):
    assert call('cache_latents', 'absent.py', 'out').startswith(
        'cache_latents: error: config file absent.py does not exist'
    )
