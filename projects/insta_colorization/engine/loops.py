"""Training loops."""

import itertools

from mmengine.runner import IterBasedTrainLoop
from torch import nn

from insta_colorization.registry import LOOPS


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """`IterBasedTrainLoop` that a resumed run enters without loading the photos it was trained on already.

    It needs an infinite `PhotoSampler`; with another sampler it loads and drops them, as MMEngine does.
    """

    def run(self) -> nn.Module:  # noqa: D102
        sampler = self.dataloader.sampler
        if self._iter and getattr(sampler, 'infinite', False):
            sampler.start = self._iter * self.dataloader.batch_size
            # What MMEngine is about to drop, then the batches that come next.
            dropped = itertools.repeat(None, self._iter)
            self.dataloader_iterator = itertools.chain(dropped, iter(self.dataloader))
        return super().run()
