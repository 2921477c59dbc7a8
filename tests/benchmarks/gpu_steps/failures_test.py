"""A failure is one line, whichever library it is from."""

import pytest

from benchmarks.gpu_steps.failures import guarded


class OutOfMemoryError(RuntimeError):
    """Called as PyTorch's."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes\nbuffers"), "out of memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (ValueError("not\nso"), "ValueError: not"),
    ],
)
def test_an_error_is_said_in_a_line(error, said):
    def fail():
        raise error

    assert guarded(fail) == {"failed": said}


def test_an_answer_is_passed_on():
    assert guarded(lambda: {"a": 1}) == {"a": 1}
