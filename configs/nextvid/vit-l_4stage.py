# NExT-Vid with a ViT-L encoder, as published (arXiv 2512.21004): 132K steps in four stages.
_base_ = [
    '../_base_/models/nextvid_vit-large.py',
    '../_base_/datasets/paper_mixture.py',
    '../_base_/schedules/paper_4stage.py',
    '../_base_/default_runtime.py',
]

# Clips at once by tools/plan_memory.py --world-size 96 --gpu 80.
train_cfg = dict(
    stages=[
        dict(stage, micro_batch_size=clips)
        for stage, clips in zip(_base_.train_cfg.stages, (8, 8, 32, 4), strict=True)
    ]
)
