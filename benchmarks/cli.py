"""The subcommands of ``python -m benchmarks``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from rich.console import Console

from benchmarks.attention import compare_attention, patterns
from benchmarks.compiling import count_compilations
from benchmarks.counted import count_components, published_run
from benchmarks.decoding import compare_decoding
from benchmarks.finetuning import WAYS as STARTS
from benchmarks.finetuning import LabelStudy, compare_starts
from benchmarks.frames import compare_frames
from benchmarks.fuzz import fuzz as fuzz_files
from benchmarks.gpu_report import GpuReport, Scale, places_of
from benchmarks.here import compare_here
from benchmarks.hops import WAYS, count_hops
from benchmarks.loading import compare_backends, compare_loader, with_videos
from benchmarks.masks import mask_cost, mask_statistics
from benchmarks.memory import compare_memory
from benchmarks.probe_runs import compare_cached, compare_grid, compare_views
from benchmarks.probing import compare_probing
from benchmarks.report import Report
from benchmarks.rollout import compare_rollout
from benchmarks.roofline import DEVICES, bounds
from benchmarks.scale import AXES, encoder_scaling, step_scaling
from benchmarks.sources import compare_sources, measure_lists, provision
from benchmarks.step import compare_steps, component_table
from benchmarks.timing import CLOCKS
from benchmarks.workload import (
    NETWORKS,
    PATCH,
    SIZES,
    TARGETS,
    TUBELET,
    Workload,
    build_model,
    make_batch,
    mask_sizes,
)
from nextvid_mm.cli import errors_in_one_line
from nextvid_mm.cli.flags import count
from nextvid_mm.datasets.video.backends import BACKENDS
from nextvid_mm.inferencers.cost import measure_streaming

EPILOG = """\
examples:
  python -m benchmarks step --size tiny                       # against a plain baseline
  python -m benchmarks step --size base --pixels 256 --components
  python -m benchmarks step --size base --pixels 256 --memory --recompute light
  python -m benchmarks step --size base --pixels 256 --frames 64 --batch 1
  python -m benchmarks step --size tiny --target vae --images 1 --batch 4 --pixels 256
  python -m benchmarks attention --size base --pixels 256 --groups 1 2 4
  python -m benchmarks scale --size tiny --pixels 256 --axis encoder
  python -m benchmarks loader --config configs/nextvid/vit-l_4stage.py --videos FOLDER
  python -m benchmarks decode --clock cpu                     # a clip's cost by file and reader
  python -m benchmarks sources                                # files, tar files, HTTP, S3
  python -m benchmarks frames                                 # right frames by kind of file
  python -m benchmarks fuzz --files 20000                     # damaged files: minutes to hours
  python -m benchmarks stream --size tiny
  python -m benchmarks rollout --size large --pixels 128 --batch 1 --steps 10
  python -m benchmarks probe --size tiny
  python -m benchmarks protocol --encoder CHECKPOINT            # the whole probe protocol
  python -m benchmarks finetune --encoders SEED_0 SEED_1 SEED_2   # few labels, resumable
  python -m benchmarks compile --size tiny --backend aot_eager
  python -m benchmarks flops                                  # counted, nothing is run
  python -m benchmarks roofline --sizes large --lengths 16    # traced: a lower bound for a GPU
  python -m benchmarks gpu                                    # ten minutes, no data, no weights
  python -m benchmarks hops                                   # functions from file to loss
  python -m benchmarks masks                                  # ours and V-JEPA's

Times are medians with half the distance between quartiles. On a machine that others use, compare
processor time of one thread: --clock cpu --threads 1 --repeats 5. --json FILE keeps every single
measurement.
"""


RECOMPUTE: dict[str, bool | str] = dict(none=False, light='light', products='products', full=True)


def workload_of(args: Namespace) -> Workload:
    """The workload that the flags describe."""
    return Workload(
        args.size,
        args.frames,
        args.batch,
        args.pixels,
        args.target,
        args.tau_samples,
        args.images,
        RECOMPUTE[args.recompute],
        tuple(args.recomputed),
    )


def step(args: Namespace) -> list[Report]:
    """The whole step against a plain baseline; --components and --memory say more."""
    load, common = workload_of(args), (args.repeats, args.warmup, args.device, args.clock)
    if args.memory:
        return [compare_memory(load, args.device, tuple(args.baselines))]
    if args.components:
        return [component_table(load, *common)]
    return [compare_steps(load, *common, tuple(args.baselines))]


def attention(args: Namespace) -> list[Report]:
    """Every attention pattern against a boolean matrix, and groups of frames."""
    load = workload_of(args)
    tokens = (load.pixels // PATCH) ** 2
    visible = mask_sizes(make_batch(Workload(load.size, TUBELET, 1, load.pixels)))[0][0]
    cases = patterns(load.frames // TUBELET, load.batch, tokens, visible, load.size)
    return [compare_attention(cases, args.repeats, args.groups, args.device, args.clock)]


def loader(args: Namespace) -> list[Report]:
    """Clips per second by decoder and by stage of the pipeline."""
    config = with_videos(Config.fromfile(args.config), args.videos, args.backend, args.cache)
    return [
        compare_backends(config, args.clips, args.repeats, args.clock),
        compare_loader(config, args.clips, args.workers, args.repeats),
    ]


def sources(args: Namespace) -> list[Report]:
    """Clips from files, tar files, a web server and a bucket; lists of millions."""
    measured = compare_sources(args.clips, args.repeats)
    needed = provision(measured, args.gpus, args.batch, args.step_ms)
    return [measured, needed, measure_lists(args.lines)]


def frames(args: Namespace) -> list[Report]:
    """Right frames of every kind of file, by reader."""
    return [compare_frames(args.backends, args.clips)]


def decode(args: Namespace) -> list[Report]:
    """What a clip costs, by length of its file, by reader, and with several of one video."""
    return [compare_decoding(args.clips, args.repeats, args.clock)]


def fuzz(args: Namespace) -> list[Report]:
    """Damaged files through the whole way of a sample."""
    return [fuzz_files(args.files, args.seed)]


def scale(args: Namespace) -> list[Report]:
    """How cost grows with frames, pixels, batch or size of the encoder."""
    load, common = workload_of(args), (args.repeats, args.device, args.clock)
    if args.axis == 'encoder':
        frames = [int(value) for value in args.values or (16, 32, 64)]
        return [encoder_scaling(load, frames, *common)]
    values = args.values and [v if args.axis == 'size' else int(v) for v in args.values]
    return [step_scaling(load, args.axis, values, *common)]


def stream(args: Namespace) -> list[Report]:
    """A new frame with a bounded cache against encoding the video again."""
    load = workload_of(args)
    model = build_model(load, args.device)
    cost = measure_streaming(model.backbone, args.length, args.window, repeats=args.repeats)
    report = Report(
        f'streaming, {load.size}, window of {cost.window} frames',
        vars(load) | dict(window=args.window, length=args.length, repeats=args.repeats),
        ('video frames so far', 'with cache, ms', 'encoded again, ms', 'times'),
    )
    for frames, recomputed in zip(cost.recompute_frames, cost.recompute_ms, strict=True):
        cached = cost.streaming_ms[max(0, frames - 10) : frames]
        middle = sorted(cached)[len(cached) // 2]
        row = {'video frames so far': frames * TUBELET, 'with cache, ms': middle}
        report.add(**row, **{'encoded again, ms': recomputed, 'times': recomputed / middle})
    report.notes.append(
        f'the last frames cost {cost.ratio:.2f} times the first after the window has filled; the '
        f'cache holds {cost.cache_bytes / 2**20:.1f} MiB'
    )
    return [report]


def rollout(args: Namespace) -> list[Report]:
    """Generating frames with a cache of the past against encoding it again."""
    common = (args.length, args.steps, args.repeats, args.device, args.clock)
    return [compare_rollout(workload_of(args), *common)]


def probe(args: Namespace) -> list[Report]:
    """A frozen encoder, one probe, and a grid of probes at once."""
    return [compare_probing(workload_of(args), args.classes, args.repeats, args.device, args.clock)]


def protocol(args: Namespace) -> list[Report]:
    """The probe protocol: grid or one probe, online or cached features, memory by views."""
    config, reports = Config.fromfile(args.probe_config), []
    if args.part in ('grid', 'all'):
        reports.append(compare_grid(config, args.encoder, args.repeats, args.clock))
    if args.part in ('cached', 'all'):
        seeds = list(range(args.seeds))
        reports.append(compare_cached(config, args.encoder, args.epochs, seeds, args.clock))
    if args.part in ('views', 'all'):
        workload = Workload('tiny', args.frames, args.batch, args.pixels)
        reports.append(compare_views(workload, device=args.device, repeats=args.repeats))
    return reports


def finetune(args: Namespace) -> list[Report]:
    """Fine-tuning from a pretrained encoder against from scratch, by labels a class."""
    configs = [Config.fromfile(path) for path in (args.config, args.probe_config)]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for config in configs:
            config[loader].update(num_workers=0, persistent_workers=False)
    settings = args.encoders, args.list, args.work_dir, args.steps
    study = LabelStudy(configs[0], configs[1], *settings)
    return [compare_starts(study, args.labels, args.ways)]


def compile(args: Namespace) -> list[Report]:
    """How often blocks are compiled over steps with other masks."""
    return [count_compilations(workload_of(args), args.steps, args.device, args.backend)]


def flops(args: Namespace) -> list[Report]:
    """Operations per component of L, H and G, and of the published run; counted."""
    return [count_components(target=args.target), published_run()]


def roofline(args: Namespace) -> list[Report]:
    """The shortest time a GPU could take for a step, operator by operator; traced, not run."""
    load = workload_of(args)
    if args.here:
        loads = [
            replace(load, size=s, frames=n, with_cp=False) for s in args.sizes for n in args.lengths
        ]
        return [compare_here(loads, args.repeats, args.clock)]
    return bounds(args.sizes, args.lengths, load, args.gpu, args.top)


def gpu(args: Namespace) -> list[Report]:
    """Ten minutes on a GPU: equality, steps, bounds, memory, resuming, decoding, on one page."""
    if not args.tiny and not args.device.startswith('cuda'):
        raise ValueError(
            '--device cpu: this is for a CUDA GPU; --tiny runs every part once at the sizes of a '
            'test, on a CPU too'
        )
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f'--device {args.device}: PyTorch finds no CUDA GPU on this machine')
    scale = Scale.tiny() if args.tiny else Scale.full()
    if args.sizes or args.lengths:
        scale = replace(scale, cells=places_of(args.sizes, args.lengths))
    made = GpuReport(args.out, args.device, args.minutes, scale)
    reports = made.run()
    for name, error in made.failed.items():
        print(f'{name} failed: {error}')
    print(f'{args.out}/gpu.json and {args.out}/gpu.md: attach both to an issue')
    return reports


def masks(args: Namespace) -> list[Report]:
    """What mask samplers leave visible, ours and V-JEPA's, and what masks cost."""
    return [mask_statistics(args.draws), mask_cost(args.clips)]


def hops(args: Namespace) -> list[Report]:
    """Functions and files of ours that a step, or a probe, goes through."""
    return [count_hops(way) for way in WAYS if args.ways in (way, 'all')]


COMMANDS: dict[str, Callable[[Namespace], list[Report]]] = dict(
    step=step,
    attention=attention,
    loader=loader,
    decode=decode,
    sources=sources,
    frames=frames,
    fuzz=fuzz,
    scale=scale,
    stream=stream,
    rollout=rollout,
    probe=probe,
    protocol=protocol,
    finetune=finetune,
    compile=compile,
    flops=flops,
    roofline=roofline,
    gpu=gpu,
    hops=hops,
    masks=masks,
)


# Flags about the timing that a command reads; those that are not here read none of them.
_TIMED = dict(
    step=('repeats', 'warmup', 'clock', 'device'),
    loader=('repeats', 'clock'),
    decode=('repeats', 'clock'),
    sources=('repeats',),
    stream=('repeats', 'device'),
    compile=('device',),
    roofline=('repeats', 'clock'),
    gpu=('device',),
    **dict.fromkeys(
        ('attention', 'scale', 'rollout', 'probe', 'protocol'), ('repeats', 'clock', 'device')
    ),
)


def add_flags(command: str, parser: ArgumentParser) -> None:
    """Add the flags of a subcommand."""
    add = parser.add_argument
    add(
        '--json',
        type=Path,
        help='also write everything to this file (.N before the suffix for more)',
    )
    add('--threads', type=count, help="PyTorch's threads (default: its own choice)")
    timed = _TIMED.get(command, ())
    if 'repeats' in timed:
        add('--repeats', type=count, default=5, help='timed runs of each (default: 5)')
    if 'warmup' in timed:
        add('--warmup', type=partial(count, least=0), default=1, help='runs before (default: 1)')
    if 'clock' in timed:
        clock = 'wall, or processor time of the process'
        add('--clock', choices=CLOCKS, default='wall', help=clock)
    if 'device' in timed:
        add('--device', default='cpu', help='cpu, cuda, ... (default: cpu)')
    if command == 'gpu':
        parser.set_defaults(device='cuda' if torch.cuda.is_available() else 'cpu')
        add('--minutes', type=float, default=10.0, help='in all, about (default: 10)')
        add('--out', type=Path, default=Path('work_dirs/gpu'), help='folder for gpu.json, gpu.md')
        add('--sizes', nargs='+', choices=SIZES, help='encoders (default: S, B, L, H, G)')
        add('--lengths', type=int, nargs='+', choices=(16, 64), help='video frames (default: both)')
        add('--tiny', action='store_true', help='everything once, at the sizes of a test')
        return
    if command == 'hops':
        add('ways', nargs='?', choices=[*WAYS, 'all'], default='all', help='which (default: all)')
        return
    if command == 'loader':
        add('--config', default='configs/nextvid/vit-tiny_demo.py', help='whose train_dataloader')
        add('--videos', help='folder of videos to read in place of its sources')
        add('--backend', choices=BACKENDS, default='pyav', help='decoder (default: pyav)')
        add('--cache', action='store_true', help="leave the config's cache of frames on")
        add('--clips', type=count, default=64, help='clips per run (default: 64)')
        add('--workers', type=int, nargs='+', default=[0, 1], help='worker processes to try')
        return
    if command == 'sources':
        add('--clips', type=count, default=32, help='clips per run (default: 32)')
        add('--lines', type=count, default=1_000_000, help='of the list (default: a million)')
        add('--gpus', type=count, default=96, help='that train (default: 96)')
        add('--batch', type=count, default=32, help='clips of a GPU in a step (default: 32)')
        add('--step-ms', type=float, default=600.0, help='of that step (default: 600)')
        return
    if command == 'fuzz':
        add('--files', type=count, default=2000, help='how many (default: 2000)')
        add('--seed', type=int, default=0, help='of the damage (default: 0)')
        return
    if command == 'decode':
        add('--clips', type=count, default=20, help='clips of each file (default: 20)')
        return
    if command == 'frames':
        add('--backends', nargs='+', choices=BACKENDS, default=BACKENDS, help='readers to compare')
        add('--clips', type=count, default=30, help='clips of each file (default: 30)')
        return
    if command == 'protocol':
        parts = ('grid', 'cached', 'views', 'all')
        add('--probe-config', default='configs/probe/demo.py', help='probe config')
        add('--encoder', required=True, help='checkpoint with the encoder')
        add('--part', choices=parts, default='all', help='what to measure (default: all)')
        add('--epochs', type=count, default=20, help='of probe training (default: 20)')
        add('--seeds', type=count, default=3, help='runs of each kind of training (default: 3)')
        add('--frames', type=count, default=16, help='of the clips whose views are counted')
        add('--batch', type=count, default=4, help='videos whose views are counted')
        add('--pixels', type=count, default=128, help='side of their frames')
        return
    if command == 'finetune':
        _add_finetune_flags(add)
        return
    if command == 'masks':
        add('--draws', type=count, default=5000, help='masks of each sampler (default: 5000)')
        add('--clips', type=count, default=3072, help='of the batch that is timed (default: 3072)')
        return
    traced = command == 'roofline'
    target = 'vae' if traced or command == 'flops' else 'pixel'
    add('--target', choices=TARGETS, default=target, help=f'what is generated (default: {target})')
    if command == 'flops':
        return
    add('--size', choices=SIZES, default='tiny', help='encoder (default: tiny)')
    add('--frames', type=count, default=16, help='video frames per clip (default: 16)')
    batch, pixels = (32, 256) if traced else (2, 64)
    add('--batch', type=count, default=batch, help=f'clips (default: {batch})')
    add('--pixels', type=count, default=pixels, help=f'side of a frame (default: {pixels})')
    add('--tau-samples', type=count, default=1, help='noise levels per condition (default: 1)')
    images = 8 if traced else 0
    add('--images', type=int, default=images, help=f'static clips of them (default: {images})')
    add('--recompute', choices=RECOMPUTE, default='none', help='with_cp of our networks')
    add('--recomputed', nargs='+', choices=NETWORKS, default=NETWORKS, help='which (default: all)')
    _add_own_flags(command, add)


def _add_finetune_flags(add: Callable) -> None:
    add('--encoders', nargs='+', required=True, help='pretraining of seed 0, 1, ...')
    add('--config', default='configs/finetune/demo.py', help='fine-tuning config')
    add('--probe-config', default='configs/probe/demo.py', help='probe config')
    add('--list', default='data/demo/demo_train_list_videos.txt', help='labelled videos')
    add('--labels', type=count, nargs='+', default=[5, 10, 40], help='labelled videos a class')
    add('--ways', nargs='+', choices=STARTS, default=list(STARTS), help='default: all')
    add('--steps', type=count, default=200, help='of fine-tuning (default: 200)')
    add('--work-dir', type=Path, default=Path('work_dirs/few_labels'), help='for results')


def _add_own_flags(command: str, add: Callable) -> None:
    if command == 'step':
        add('--components', action='store_true', help='instead: where the time goes, FLOP rates')
        add('--memory', action='store_true', help='instead: peak memory, in processes of their own')
        both = ['dense', 'folded']
        add('--baselines', nargs='*', choices=both, default=both, help="the baseline's decoder")
    elif command == 'attention':
        add('--groups', type=count, nargs='*', default=[], help='frames per call to try')
    elif command == 'roofline':
        add('--gpu', choices=DEVICES, default='h100', help='which (default: h100)')
        sizes = ['large', 'huge', 'giant']
        add('--sizes', nargs='+', choices=SIZES, default=sizes, help='encoders (default: L, H, G)')
        add('--lengths', type=count, nargs='+', default=[16, 64], help='video frames per clip')
        text = 'instead: time each operator of a step alone on this CPU, then run the step '
        add('--here', action='store_true', help=text + '(a minute a size, beside the steps)')
        add('--top', type=count, default=8, help='biggest operators to show (default: 8)')
    elif command == 'scale':
        add('--axis', choices=('encoder', *AXES), default='encoder', help='what grows')
        add('--values', nargs='+', help='sizes along the axis')
    elif command == 'stream':
        add('--length', type=count, default=120, help='tubelets of the stream')
        add('--window', type=count, default=32, help='frames in the cache')
    elif command == 'rollout':
        add('--length', type=count, default=16, help='tubelets to generate')
        add('--steps', type=count, default=20, help='solver steps per tubelet')
    elif command == 'probe':
        add('--classes', type=count, default=174, help='of the probes (default: 174)')
    elif command == 'compile':
        add('--steps', type=count, default=10, help='after the first')
        add('--backend', default='inductor', help='of torch.compile')


def run(args: Namespace, console: Console | None = None) -> list[Report]:
    """Run a subcommand, print its tables and write its JSON."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    reports = COMMANDS[args.command](args)
    for number, report in enumerate(reports):
        report.show(console)
        if args.json is not None:
            report.write(_numbered(args.json, number))
    return reports


def _numbered(path: Path, number: int) -> Path:
    return path if number == 0 else path.with_suffix(f'.{number}{path.suffix}')


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """Parse a subcommand and its flags; None takes those of the process."""
    parser = ArgumentParser(
        description='Measure what pretraining costs, as ratios side by side in one run.',
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, command in COMMANDS.items():
        text = (command.__doc__ or '').partition('\n')[0]
        add_flags(name, commands.add_parser(name, help=text, description=text))
    return parser.parse_args(arguments)


def main() -> None:
    """Parse the flags and measure; report a wrong flag in one line."""
    with errors_in_one_line('benchmark'):
        run(parse())
