# At the demo's scale every row has the same steps.
_base_ = './demo.py'
