import random
import threading
import time

import pytest
import torch

from insta_colorization.utils.threads import Workers

PATIENCE = 20


@pytest.mark.parametrize('count', [0, 1, 3])
@pytest.mark.parametrize('ahead', [0, 1, 5, 99])
@pytest.mark.parametrize('length', [0, 1, 20])
def test_results_come_in_order_whoever_is_first(count, ahead, length):
    def slow_square(x: int) -> int:
        time.sleep(random.uniform(0, 0.002))
        return x * x

    with Workers(count) as workers:
        assert list(workers.map(slow_square, range(length), ahead)) == [x * x for x in range(length)]


def test_work_goes_on_while_a_result_is_looked_at():
    third = threading.Event()
    with Workers(1) as workers:
        results = workers.map(lambda x: third.set() if x == 2 else None, range(9), ahead=2)
        next(results)
        assert third.wait(PATIENCE)


@pytest.mark.parametrize(('count', 'ahead', 'most'), [(0, 5, 1), (2, 0, 1), (2, 3, 4)])
def test_only_so_many_items_are_taken_before_a_result_is_asked_for(count, ahead, most):
    taken = []
    with Workers(count) as workers:
        results = workers.map(lambda x: x, (taken.append(x) or x for x in range(20)), ahead)
        for asked in range(1, 10):
            next(results)
            assert len(taken) < asked + most


@pytest.mark.parametrize('count', [0, 2])
def test_an_error_comes_in_its_turn_and_what_has_not_begun_is_dropped(count):
    begun = []

    def work(x: int) -> int:
        begun.append(x)
        if x == 3:
            raise KeyError(x)
        time.sleep(0.01)
        return x

    results = []

    def collect() -> None:
        with Workers(count) as workers:
            for result in workers.map(work, range(1000), ahead=50):
                results.append(result)

    with pytest.raises(KeyError, match='3'):
        collect()
    assert results == [0, 1, 2]
    seen = len(begun)
    time.sleep(0.05)
    assert len(begun) == seen < 60


def test_torch_keeps_to_one_thread_in_workers_and_to_its_own_number_elsewhere():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Workers(2) as workers, Workers(1, torch_threads=None) as other:
            assert list(workers.map(lambda _: torch.get_num_threads(), range(4), 4)) == [1] * 4
            assert list(other.map(lambda _: torch.get_num_threads(), range(1), 1)) == [2]
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
