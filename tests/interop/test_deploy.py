"""``torch.export`` and ONNX give what the encoder gives: for clips, and step by step."""

import pytest
import torch

from nextvid_mm.inferencers import StreamingEncoder
from nextvid_mm.interop.deploy import ClipModule, StreamingStep
from nextvid_mm.models.backbones import CausalViT

ARCH = dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0)
CLOSE = dict(atol=1e-4, rtol=1e-4)


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    encoder = CausalViT(ARCH, img_size=16, patch_size=8).eval().requires_grad_(False)
    for parameter in encoder.parameters():
        parameter.normal_(std=0.3)
    return encoder


VIDEO = torch.rand(1, 3, 12, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def steps(function, start):
    """Tokens of six tubelets ``(6, N, C)``, one step after the other."""
    state, tokens = start, []
    for frames in VIDEO.split(2, dim=2):
        out, *state = function(frames, *state)
        tokens.append(torch.as_tensor(out)[0])
    return torch.stack(tokens)


def test_steps_equal_the_clip_and_the_stream(encoder):
    whole = steps(step := StreamingStep(encoder, window=6), step.start())
    torch.testing.assert_close(whole, encoder.encode(VIDEO)[0], **CLOSE)
    sliding = steps(step := StreamingStep(encoder, window=3), step.start())
    stream = StreamingEncoder(encoder, window=3)
    expected = torch.cat([stream.push(frames)[0] for frames in VIDEO.split(2, dim=2)])
    torch.testing.assert_close(sliding, expected, **CLOSE)
    assert not torch.allclose(sliding[-1], whole[-1], atol=1e-3)
    with pytest.raises(ValueError, match='needs a CausalViT with causal=True'):
        StreamingStep(CausalViT(ARCH, img_size=16, patch_size=8, causal=False))
    with pytest.raises(ValueError, match='window=0 must be'):
        StreamingStep(encoder, window=0)


def test_a_moved_and_cast_step_starts_there_and_turns_exactly():
    step = StreamingStep(CausalViT(ARCH, img_size=16, patch_size=8)).bfloat16()
    assert (step.speed.dtype, step.cos.dtype) == (torch.float64, torch.float32)
    assert {tensor.device.type for tensor in step.to('meta').start()} == {'meta'}


def test_torch_export(encoder):
    clip = torch.export.export(ClipModule(encoder), (VIDEO[:, :, :4],)).module()
    torch.testing.assert_close(clip(VIDEO[:, :, 4:8]), encoder.encode(VIDEO[:, :, 4:8]), **CLOSE)
    step = StreamingStep(encoder, window=3)
    exported = torch.export.export(step, (VIDEO[:, :, :2], *step.start())).module()
    torch.testing.assert_close(steps(exported, step.start()), steps(step, step.start()), **CLOSE)


@pytest.mark.slow
def test_onnx(encoder, tmp_path):
    pytest.importorskip('onnxscript')
    runtime = pytest.importorskip('onnxruntime')
    step = StreamingStep(encoder, window=3)
    for name, module, inputs in (
        ('clip', ClipModule(encoder), (VIDEO[:, :, :4],)),
        ('step', step, (VIDEO[:, :, :2], *step.start())),
    ):
        torch.onnx.export(module, inputs, dynamo=True, verbose=False).save(tmp_path / name)

    def run(name):
        session = runtime.InferenceSession(tmp_path / name)
        names = [entry.name for entry in session.get_inputs()]
        return lambda *tensors: session.run(
            None, {n: torch.as_tensor(t).numpy() for n, t in zip(names, tensors, strict=True)}
        )

    (tokens,) = run('clip')(VIDEO[:, :, 4:8])
    expected = encoder.encode(VIDEO[:, :, 4:8])
    torch.testing.assert_close(torch.from_numpy(tokens), expected, **CLOSE)
    found = steps(run('step'), step.start())
    torch.testing.assert_close(found, steps(step, step.start()), **CLOSE)
