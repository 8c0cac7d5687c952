# NExT-Vid with a ViT-H encoder, as published (arXiv 2512.21004): 132K steps in four stages.
_base_ = [
    '../_base_/models/nextvid_vit-huge.py',
    '../_base_/datasets/paper_mixture.py',
    '../_base_/schedules/paper_4stage.py',
    '../_base_/default_runtime.py',
]
