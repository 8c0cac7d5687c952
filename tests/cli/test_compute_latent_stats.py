from pathlib import Path


def test_a_wrong_suffix_is_told_before_the_work(call):
    config = Path(__file__).resolve().parents[2] / 'configs/nextvid/vit-tiny_demo.py'
    said = call('compute_latent_stats', config, 'stats.npz')
    assert said.startswith('compute_latent_stats: error: stats.npz must end in')


def test_flags(parse):
    args = parse('compute_latent_stats', 'config.py', 'out.pt', '--clips', 8)
    assert (args.clips, args.batch_size, args.seed) == (8, 8, 0)
