# The full method, but the encoder sees every patch and every patch is predicted.
_base_ = '../_base_/ablations/paper.py'

pack = [
    dict(step, strategies='none') if step.type == 'FrameIsolatedMasking' else step
    for step in _base_.pack
]
train_dataloader = dict(dataset=dict(pipeline=pack))
