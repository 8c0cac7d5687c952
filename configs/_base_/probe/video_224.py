# The spatial pieces of video.py at 224 px, for published encoders of that size.
size_224 = 224
crop_224 = [
    dict(type='mmaction.Resize', scale=(-1, size_224)),
    dict(type='mmaction.RandomResizedCrop'),
    dict(type='mmaction.Resize', scale=(size_224, size_224), keep_ratio=False),
]
views_224 = [
    dict(type='mmaction.Resize', scale=(-1, size_224)),
    dict(type='mmaction.ThreeCrop', crop_size=size_224),
]
