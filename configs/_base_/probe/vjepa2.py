# What differs from ours in V-JEPA 2's evaluation (arXiv 2506.09985), for its encoders as
# tools/convert_checkpoint.py --from vjepa2 writes them: docs/evaluate.md, row by row.
vjepa2 = dict(
    encoder_weights='encoder',
    dtype='float16',
    cls_head=dict(
        standardize=False,
        pool=dict(depth=4, output_proj=False, eps=1e-5, init='vjepa', same_start=False),
    ),
)
# Their schedule counts a step before the first one.
schedule_vjepa2 = dict(rates_ahead=1)

size_vjepa2 = 256
# What these encoders normalise by, inside: noise is normal on their scale.
imagenet = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
# Each segment is augmented on its own; no flip.
augment = dict(
    type='EachSegment',
    transforms=[
        dict(type='AutoAugment', policy='rand-m7-n4-mstd0.5-inc1', size=size_vjepa2),
        dict(
            type='mmaction.RandomResizedCrop',
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
        ),
        dict(type='mmaction.Resize', scale=(size_vjepa2, size_vjepa2), keep_ratio=False),
        dict(type='RandomErase', prob=0.25, **imagenet),
    ],
)
