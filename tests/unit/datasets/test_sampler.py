from itertools import islice

import pytest

from insta_colorization.datasets import PhotoSampler, sampler


@pytest.fixture
def build(monkeypatch):
    """A sampler of process `rank` of `world`."""

    def build(num_photos, rank=0, world=1, **settings):
        monkeypatch.setattr(sampler, 'get_dist_info', lambda: (rank, world))
        return PhotoSampler(range(num_photos), **{'seed': 5, **settings})

    return build


def test_every_photo_once_in_random_order(build):
    keys = list(build(20))

    assert sorted(keys) == [(0, index) for index in range(20)]
    assert keys != sorted(keys)
    assert keys == list(build(20))
    assert keys != list(build(20, seed=6))


def test_every_epoch_has_another_order(build):
    photos = build(20)
    first = list(photos)
    photos.set_epoch(1)
    second = list(photos)

    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in first] != [index for _, index in second]
    photos.set_epoch(0)
    assert list(photos) == first


def test_without_shuffling(build):
    assert list(build(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize('infinite', [False, True])
@pytest.mark.parametrize(('num_photos', 'world'), [(12, 2), (12, 3), (11, 2), (7, 4), (1, 1)])
def test_processes_see_together_what_one_sees(build, num_photos, world, infinite):
    ranks = [build(num_photos, rank, world, infinite=infinite) for rank in range(world)]
    length = 3 * num_photos if infinite else len(ranks[0])
    parts = [list(islice(photos, length)) for photos in ranks]

    together = [key for step in zip(*parts, strict=True) for key in step]
    alone = list(islice(build(num_photos, infinite=infinite), len(together)))

    assert {len(part) for part in parts} == {length}
    assert together[: len(alone)] == alone
    # Only what an epoch that does not add up has too little comes twice.
    assert together[len(alone) :] == alone[: len(together) - len(alone)]


def test_infinite_is_epoch_after_epoch(build):
    keys = list(islice(build(5, infinite=True), 15))

    for epoch in range(3):
        photos = build(5)
        photos.set_epoch(epoch)
        assert keys[5 * epoch : 5 * epoch + 5] == list(photos)


@pytest.mark.parametrize('start', [0, 1, 4, 5, 23])
@pytest.mark.parametrize(('rank', 'world'), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_it_goes_on_from_where_it_was(build, start, rank, world):
    whole = list(islice(build(5, rank, world, infinite=True), start + 10))
    photos = build(5, rank, world, infinite=True)
    photos.start = start
    photos.set_epoch(1)

    assert list(islice(photos, 10)) == whole[start:]


def test_length_is_that_of_an_epoch_of_the_process(build):
    assert [len(build(7, rank, 3)) for rank in range(3)] == [3, 3, 3]
    assert len(build(7, infinite=True)) == 7


def test_more_processes_than_photos(build):
    with pytest.raises(ValueError, match='the dataset has 3 photos, but there are 4 processes'):
        build(3, 0, 4)


def test_it_is_found_by_name():
    from insta_colorization.registry import DATA_SAMPLERS

    built = DATA_SAMPLERS.build({'type': 'PhotoSampler', 'dataset': range(2), '_scope_': 'insta_colorization'})

    assert sorted(built) == [(0, 0), (0, 1)]
