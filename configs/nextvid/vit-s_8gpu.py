# NExT-Vid with a ViT-S encoder for eight GPUs. The data is the paper's mixture; docs/data.md puts
# your own videos in its place.
_base_ = [
    '../_base_/models/nextvid_vit-small.py',
    '../_base_/datasets/paper_mixture.py',
    '../_base_/schedules/eight_gpus_4stage.py',
    '../_base_/default_runtime.py',
]

# Clips at once by tools/plan_memory.py --world-size 8 --gpu 80.
# Rates go with 1 / width, from the 1,024 channels of ViT-L. The decoder, as wide as there, keeps
# its own.
wider = 1024 / 384
train_cfg = dict(
    stages=[
        dict(stage, lr=tuple(wider * lr for lr in stage['lr']), micro_batch_size=clips)
        for stage, clips in zip(_base_.train_cfg.stages, (16, 16, 48, 8), strict=True)
    ]
)
