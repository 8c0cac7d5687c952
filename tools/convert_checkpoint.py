"""Convert encoders: published ones for this project's probes, ours for everybody else."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.interop import FORMATS, TARGETS, convert

EPILOG = """\
examples:
  # somebody else's encoder, to be probed and to give features exactly as ours
  python tools/convert_checkpoint.py --from videomae checkpoint.pth videomae-l.pth
  python tools/convert_checkpoint.py --from vjepa2 vitl.pt vjepa2-l.pth
  python tools/convert_checkpoint.py --from timm --model vit_base_patch16_clip_224.openai \\
      model.safetensors clip-b.pth
  # our encoder as safetensors, with a model card; timm.create_model loads it
  python tools/convert_checkpoint.py --from nextvid --to safetensors iter_9.pth vit-l.safetensors

formats:
  videomae, videomaev2   original or MMAction2 checkpoints, pretrained or fine-tuned
  vjepa, vjepa2          target_encoder, ema_encoder or encoder; 2.1 is told by its weights
  timm                   any ViT of timm, applied to every frame by itself
  nextvid                a checkpoint of tools/train.py

Nothing is downloaded. A file that is missing weights, has unknown ones or ones of another shape is
an error that names the first of each with both shapes.
"""


def main() -> None:
    """Convert; report what does not fit in one message."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('input', help='checkpoint to read')
    add('output', help='file to write')
    add('--from', dest='source', required=True, choices=[*FORMATS, 'nextvid'], help='its format')
    add('--to', dest='target', default='nextvid', choices=TARGETS, help='default: %(default)s')
    add('--model', help="timm: name of the model, with the weights' tag")
    add(
        '--heads',
        type=int,
        help='videomae, vjepa: attention heads, for widths never published',
    )
    add(
        '--encoder',
        choices=['target_encoder', 'ema_encoder', 'encoder'],
        help='vjepa: which encoder of the file (default: the first of these that is there)',
    )
    add('--size', type=int, help='vjepa2: pixels per side it was released for (default: 256)')
    add(
        '--weights',
        choices=['reference', 'encoder'],
        help='nextvid: the EMA encoder (default) or the trained one',
    )
    args = parser.parse_args()
    options = {key: getattr(args, key) for key in ('model', 'heads', 'encoder', 'size', 'weights')}
    try:
        lines = convert(args.source, args.target, args.input, args.output, **options)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f'convert_checkpoint: error: {error}')
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
