"""What the runner takes besides models and data: hooks, loops, the optimizer's wrapper and its groups of parameters."""

from . import hooks, loops, optim_constructor, optim_wrapper
