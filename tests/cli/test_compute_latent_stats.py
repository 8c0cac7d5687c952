from pathlib import Path


def test_a_wrong_suffix_is_told_before_the_work(call):
    config = Path(__file__).resolve().parents[2] / 'configs/nextvid/vit-tiny_demo.py'
    said = call('compute_latent_stats', config, 'stats.npz')
    assert said.startswith('compute_latent_stats: error: stats.npz must end in')


def test_a_config_of_a_probe_is_told(call):
    for tool in ('compute_latent_stats', 'cache_latents'):
        said = call(tool, 'configs/probe/demo.py', 'stats.json')
        assert said == (
            f'{tool}: error: configs/probe/demo.py has no stage table: it needs '
            "train_cfg=dict(type='StageTrainLoop', stages=[...])"
        )


def test_flags(parse):
    args = parse('compute_latent_stats', 'config.py', 'out.pt', '--clips', 8)
    assert (args.clips, args.batch_size, args.seed) == (8, 8, 0)
