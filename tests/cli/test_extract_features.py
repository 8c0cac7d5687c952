def test_flags(parse):
    args = parse('extract_features', 'a.pth', 'b.mp4', 'c.txt', '--out', 'features', '--fps', 0)
    assert (args.inputs, args.fps, args.num_frames, args.batch_size) == (
        ['b.mp4', 'c.txt'],
        0,
        16,
        4,
    )
    assert args.weights is args.size is args.dtype is args.device is None


def test_bad_input_is_one_line(call):
    said = call('extract_features', 'absent.pth', 'absent.mp4', '--out', 'features')
    assert said.startswith('extract_features: error: ')
    assert 'absent' in said
