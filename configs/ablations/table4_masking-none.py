# As table2_generation-isolation, but the encoder sees every patch and every patch is predicted.
_base_ = '../_base_/ablations/paper.py'

model = dict(align_head=None, reference=None)
pack = [
    dict(step, strategies='none') if step.type == 'FrameIsolatedMasking' else step
    for step in _base_.pack
]
train_dataloader = dict(dataset=dict(pipeline=pack))
