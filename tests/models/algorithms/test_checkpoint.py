"""A model comes back from its checkpoint as it was, or an error says why it cannot."""

import pytest
import torch
from checkpoints import save_pretrained
from ldm import tiny_checkpoint
from tiny import clips

from nextvid_mm.models.algorithms import find_component, load_generator
