def test_flags(parse):
    args = parse('stream_demo', 'a.pth', '0', '--dtype', 'auto')
    assert (args.source, args.weights, args.window, args.dtype) == ('0', 'reference', 32, 'auto')


def test_a_missing_checkpoint_is_one_line(call):
    said = call('stream_demo', 'absent.pth', 'a.mp4')
    assert said.startswith('stream_demo: error: ')
    assert 'absent.pth' in said
