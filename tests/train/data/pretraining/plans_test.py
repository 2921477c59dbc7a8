"""The cache of epoch plans: each is computed once, few are kept, and errors reach the caller."""

import threading

import pytest

from train.data.pretraining.plans import Plans


def test_threads_wait_for_a_plan_instead_of_computing_it_twice():
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make(epoch):
        made.append(epoch)
        begun.set()
        assert go_on.wait(10)
        return -epoch

    plans = Plans(make)
    plans.prepare(7)
    assert begun.wait(10)
    assert 7 in plans
    plans.prepare(7)
    results = []
    asking = [threading.Thread(target=lambda: results.append(plans.get(7))) for _ in range(3)]
    for thread in asking:
        thread.start()
    go_on.set()
    for thread in asking:
        thread.join()
    assert results == [-7] * 3
    assert made == [7]


def test_few_plans_are_kept():
    made = []
    plans = Plans(lambda epoch: made.append(epoch) or epoch)
    for epoch in (0, 1, 0, 2, 0, 1):
        assert plans.get(epoch) == epoch
    assert len(plans) == 2
    assert made == [0, 1, 2, 1]  # 2 replaced 1, the least recently used


def test_the_background_thread_ends_with_the_plans():
    plans = Plans(lambda epoch: threading.current_thread())
    threads = set()
    for epoch in range(5):
        plans.prepare(epoch)
        threads.add(plans.get(epoch))
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert thread.is_alive()
    del plans
    thread.join(10)
    assert not thread.is_alive()


def test_an_error_reaches_the_caller_and_is_not_cached():
    attempts = []

    def make(epoch):
        attempts.append(epoch)
        if len(attempts) == 1:
            raise OSError("gone")
        return "a plan"

    plans = Plans(make)
    with pytest.raises(OSError, match="gone"):
        plans.get(0)
    assert plans.get(0) == "a plan"
