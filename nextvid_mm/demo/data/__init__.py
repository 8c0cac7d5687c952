"""A generated video data set whose classes are motions, small enough for a laptop.

``make_demo_data`` writes it in MMAction2's folder and list formats; see ``docs/`` and
``tools/make_demo_data.py`` for the command line.
"""

from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.motions import MOTIONS, Motion
from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec

__all__ = ['MOTIONS', 'DemoSpec', 'Motion', 'make_demo_data', 'render_clip']
