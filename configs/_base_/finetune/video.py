# The pieces of pipelines that Kinetics-400, Something-Something V2 and Diving48 share.
_base_ = './clips.py'

size = 256
open_video = dict(type='nextvid_mm.OpenVideo')
crop = [
    dict(type='mmaction.RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.75, 1.35)),
    dict(type='mmaction.Resize', scale=(size, size), keep_ratio=False),
]
flip = dict(type='mmaction.Flip', flip_ratio=0.5)
# torchvision's, the same operations for all frames of a clip.
augment = dict(type='mmaction.TorchVisionWrapper', op='RandAugment', num_ops=2, magnitude=9)
erase = dict(type='mmaction.RandomErasing', erase_prob=0.25, mode='rand')
# Three spatial views.
views = [
    dict(type='mmaction.Resize', scale=(-1, size)),
    dict(type='mmaction.ThreeCrop', crop_size=size),
]
