# The four stages in the paper's proportions for one GPU. Everything is derived from the paper's
# table, by rules of thumb: nobody has tuned these sizes.
_base_ = './paper_4stage.py'

shorter = 2  # half the steps of every stage: 66,000 in all
smaller = 16  # batches of 192 clips, and 48 in the cool-down
# With AdamW, the rate follows the square root of the batch.
rate = smaller**-0.5
# The reference remembers the same share of the run, 1 %: 1 - ema_momentum grows as steps fall.
ema_momentum = 1 - (1 - 0.99925) * shorter

train_cfg = dict(
    stages=[
        dict(
            stage,
            steps=stage['steps'] // shorter,
            batch_size=stage['batch_size'] // smaller,
            lr=tuple(rate * lr for lr in stage['lr']),
            flow_lr=rate * stage['flow_lr'] if 'flow_lr' in stage else None,
            ema_momentum=ema_momentum,
        )
        for stage in _base_.train_cfg.stages
    ]
)
auto_scale_lr = dict(base_batch_size=192)
