"""What the runner takes besides models and data: hooks, loops, the optimizer's wrapper."""

from . import hooks, loops, optim_wrapper
