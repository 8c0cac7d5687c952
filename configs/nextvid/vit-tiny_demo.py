# The whole method on a laptop CPU: the generated demo videos, four stages, about ten minutes.
_base_ = [
    '../_base_/models/nextvid_vit-tiny.py',
    '../_base_/datasets/demo.py',
    '../_base_/schedules/demo_4stage.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(interval=200))
