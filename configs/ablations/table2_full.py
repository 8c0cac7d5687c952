# Generation, context isolation and alignment: the full method.
_base_ = '../_base_/ablations/paper.py'
