# The whole method on a laptop CPU: the generated demo videos, four stages; with the probes of
# ./demo.sh 12 to 16 minutes on two cores.
_base_ = [
    '../_base_/models/nextvid_vit-tiny.py',
    '../_base_/datasets/demo.py',
    '../_base_/schedules/demo_4stage.py',
    '../_base_/default_runtime.py',
]

# No accident, however early, costs more than a minute.
default_hooks = dict(checkpoint=dict(interval=200, max_minutes=1))
