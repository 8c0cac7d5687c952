"""Convert encoders: published ones for this project's probes, ours for everybody else."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared
from nextvid_mm.run_folder import newest_checkpoint

EPILOG = """\
examples:
  # somebody else's encoder, to be probed and to give features exactly as ours
  python tools/convert_checkpoint.py --from videomae checkpoint.pth videomae-l.pth
  python tools/convert_checkpoint.py --from vjepa2 vitl.pt vjepa2-l.pth
  python tools/convert_checkpoint.py --from vjepa2 vitl.pt vjepa2-l_ssv2.pth \\
      --probe ssv2-vitl-16x2x3.pt          # with its released probes, for tools/test.py
  python tools/convert_checkpoint.py --from timm --model vit_base_patch16_clip_224.openai \\
      model.safetensors clip-b.pth
  # our encoder as safetensors, with a model card; timm.create_model loads it
  python tools/convert_checkpoint.py --from nextvid --to safetensors iter_9.pth vit-l.safetensors

  # one file of a sharded checkpoint, which any run resumes
  python tools/convert_checkpoint.py --from sharded iter_9.dcp iter_9.pth

formats:
  videomae, videomaev2   original, MMAction2 or transformers; pretrained or fine-tuned
  vjepa, vjepa2          target_encoder, ema_encoder or encoder; 2.1 is told by its weights;
                         vjepa2 also as transformers has it
  timm                   any ViT of timm, applied to every frame by itself
  dinov2, dinov3         the original files; timm's names are found by their shapes
  nextvid                a checkpoint of tools/train.py
  sharded                one that several processes have written (iter_N.dcp), with its optimiser

The input is a file, or a folder as published (several files with an index, .safetensors or .bin).
Averaged weights (EMA) are taken before trained ones, and said. Nothing is downloaded. A file that
is missing weights, has unknown ones or ones of another shape is an error that names the first of
each with both shapes.
"""


FORMATS = (
    'videomae',
    'videomaev2',
    'vjepa',
    'vjepa2',
    'timm',
    'dinov2',
    'dinov3',
    'nextvid',
    'sharded',
)
TARGETS = ('nextvid', 'safetensors')
OPTIONS = ('model', 'heads', 'key', 'encoder', 'size', 'probe', 'weights')


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('input', type=newest_checkpoint, help='checkpoint to read, or work directory of a run')
    add('output', help='file to write')
    add('--from', dest='source', required=True, choices=FORMATS, help='its format')
    add('--to', dest='target', default='nextvid', choices=TARGETS, help='default: %(default)s')
    add('--model', help="timm: name of the model, with the weights' tag")
    add(
        '--heads',
        type=int,
        help='videomae, vjepa: attention heads, for widths never published',
    )
    add('--key', help='state dict of the file to take, such as state_dict (default: averaged ones)')
    add(
        '--encoder',
        choices=['target_encoder', 'ema_encoder', 'encoder'],
        help='vjepa: which encoder of the file (default: the first of these that is there)',
    )
    add_shared(parser, '--size', 'that a vjepa2 encoder was released for (default: 256)')
    add('--probe', metavar='FILE', help='vjepa2: attentive probes trained on it, to be tested')
    add_shared(parser, '--weights')


def run(args: argparse.Namespace) -> None:
    """Convert, and say what was done."""
    from nextvid_mm.interop import convert

    options = {key: getattr(args, key) for key in OPTIONS}
    print('\n'.join(convert(args.source, args.target, args.input, args.output, **options)))
