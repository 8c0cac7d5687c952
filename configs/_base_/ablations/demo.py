# The full method at the demo's scale: its model, data and schedule.
_base_ = '../../nextvid/vit-tiny_demo.py'
