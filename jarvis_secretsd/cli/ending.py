"""Being ended by a signal, once what lies about is cleared away."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""What ends us beside Ctrl-C, which Python turns into an exception by itself."""

Handler = signal.Handlers | Callable[[int, FrameType | None], object] | int


@contextmanager
def ending_late() -> Iterator[None]:
    """A signal that ends us does so after what stands in the block has cleared away."""
    caught: list[int] = []

    def leave(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) == 1:  # a second one would interrupt the clearing away
            raise KeyboardInterrupt

    try:
        with handling(ENDINGS, leave):
            yield
    finally:
        for number in caught:
            signal.raise_signal(number)


@contextmanager
def handling(numbers: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """These signals have this handler in the block, and afterwards the one from before."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
