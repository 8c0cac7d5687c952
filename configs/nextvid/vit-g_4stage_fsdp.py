# As vit-g_4stage.py, with weights, gradients, optimiser and reference encoder sharded over the GPUs
# (torch's FSDP2) instead of a copy on each (DDP). tools/plan_memory.py shows the difference.
_base_ = './vit-g_4stage.py'

runner_type = 'ShardedRunner'
model_wrapper_cfg = dict(
    _delete_=True,  # the keys of DDP
    # Gathered one by one, when they run.
    units=[
        'backbone.blocks',
        'backbone',
        'reference.encoder.blocks',
        'reference.encoder',
        'target_generator',
    ],
    # Processes per copy of the model; None: one copy over all. 8: a copy on each machine of 8 GPUs,
    # whose gathering stays inside the machine.
    shard_size=None,
    gather_dtype='bfloat16',
    # One gather and one reduction a step instead of one for each pass and micro-batch, where a GPU
    # has room for a whole copy of weights (2 GB) and gradients: reshard_after_forward=False,
    # reduce_once=True.
    reshard_after_forward=None,
    reduce_once=False,
    # Blocks whose weights are asked for ahead of the one that runs.
    forward_prefetch=1,
    backward_prefetch=1,
)
# Every process writes its own part, and training goes on meanwhile.
default_hooks = dict(checkpoint=dict(asynchronous=True))

# Clips at once and recomputation by tools/plan_memory.py --world-size 96 --gpu 80.
model = dict(neck=dict(with_cp=False))
train_cfg = dict(
    stages=[
        dict(stage, micro_batch_size=clips)
        for stage, clips in zip(_base_.train_cfg.stages, (8, 8, 16, 4), strict=True)
    ]
)
