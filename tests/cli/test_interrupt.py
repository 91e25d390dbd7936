"""Signals on the command line."""

from __future__ import annotations

import signal

import pytest

from fwprof.api import Cancellation
from fwprof.cli.interrupt import interruptible
from fwprof.errors import ExitCode


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_the_first_signal_cancels_and_the_second_stops(
    number: signal.Signals, status: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    cancellation = Cancellation()
    with interruptible(cancellation) as interruption:
        assert not cancellation.is_cancelled
        signal.raise_signal(number)
        assert cancellation.is_cancelled
        assert interruption.status is status
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert "stopping after this block" in capsys.readouterr().err


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible(Cancellation()):
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
