"""The order of the photos: a function of seed and epoch, whatever the number of processes."""

import itertools
from collections.abc import Iterator, Sized
from math import ceil

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from insta_colorization.registry import DATA_SAMPLERS

# What `ColorizationDataset` takes: the epoch, from which its augmentations follow, and the index of the photo.
Key = tuple[int, int]


@DATA_SAMPLERS.register_module()
class PhotoSampler(Sampler[Key]):
    """Yields `(epoch, index)`, every photo once an epoch.

    Epoch e has the same order for any number of processes, and process r of w takes every w-th photo from the r-th one
    on; so w processes with batches of B see in each step what one process with batches of w B sees.

    Args:
        dataset: the photos.
        shuffle: whether an epoch's order is random, by a generator seeded with `seed` + epoch; else the dataset's own.
        infinite: whether epoch follows epoch without an end, for loops that count iterations. Otherwise an epoch whose
            length is no multiple of the number of processes is filled up with its first photos.
        seed: the same in all processes; MMEngine's synchronized random seed when not given.

    Attributes:
        start: how many photos of this process an infinite sampler leaves out before the first; for resuming.

    Raises:
        ValueError: there are more processes than photos.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, infinite: bool = False, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.num_photos = len(dataset)
        if self.num_photos < self.world_size:
            raise ValueError(f'the dataset has {self.num_photos} photos, but there are {self.world_size} processes')
        self.shuffle = shuffle
        self.infinite = infinite
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[Key]:
        """The photos of this process: those of the epoch, or all that ever come."""
        if self.infinite:
            return self._endless()
        order = [(self.epoch, index) for index in self._order(self.epoch)]
        filled = order + order[: -len(order) % self.world_size]
        return iter(filled[self.rank :: self.world_size])

    def _endless(self) -> Iterator[Key]:
        epoch, passed = divmod(self.start * self.world_size + self.rank, self.num_photos)
        keys = ((e, index) for e in itertools.count(epoch) for index in self._order(e))
        return itertools.islice(keys, passed, None, self.world_size)

    def _order(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.num_photos))
        generator = torch.Generator().manual_seed(self.seed + epoch)
        return torch.randperm(self.num_photos, generator=generator).tolist()

    def __len__(self) -> int:
        """How many photos this process gets in an epoch."""
        return ceil(self.num_photos / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration yields; an infinite sampler counts its epochs itself."""
        self.epoch = epoch
