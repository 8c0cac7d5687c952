"""A generated video dataset whose classes are motions, small enough for a laptop.

``make_demo_data`` writes it in MMAction2's folder and list formats; see ``docs/`` and
``tools/make_demo_data.py`` for the command line. Nothing is imported here: what a dataset is made
of (``spec``) is known to the command line, which need not know how.
"""
