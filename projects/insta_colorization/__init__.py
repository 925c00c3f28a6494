"""Instance-aware image colorization as an OpenMMLab plugin.

The public names live in the submodules; importing the package itself stays light so that
MMEngine can resolve the scope `insta_colorization` without waking any model zoo.
"""

__version__ = '0.1.0'
