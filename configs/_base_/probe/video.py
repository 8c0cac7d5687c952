# Probes on videos: what Kinetics-400, Something-Something V2 and Diving48 share. The config of a
# dataset samples clips and puts the pipelines together from these pieces, at 256 px or at another
# size. Its frame_interval, in frames of the file, is what the figure called FPS in Table 9 means
# here; true frames per second with fps=... of the datasets.
# Decides these rows of docs/choices.md: step, segments.
_base_ = './attentive.py'

open_video = dict(type='nextvid_mm.OpenVideo')
decode = dict(type='nextvid_mm.ReadFrames')
pack = [
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]

size = 256
crop = [
    dict(type='mmaction.Resize', scale=(-1, size)),
    dict(type='mmaction.RandomResizedCrop'),
    dict(type='mmaction.Resize', scale=(size, size), keep_ratio=False),
]
flip = dict(type='mmaction.Flip', flip_ratio=0.5)
# Three spatial views.
views = [
    dict(type='mmaction.Resize', scale=(-1, size)),
    dict(type='mmaction.ThreeCrop', crop_size=size),
]

train_dataloader = dict(dataset=dict(dataset=dict(type='ClipListDataset')))
val_dataloader = dict(
    batch_size=4, dataset=dict(dataset=dict(type='ClipListDataset', test_mode=True))
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=20, val_interval=5)
