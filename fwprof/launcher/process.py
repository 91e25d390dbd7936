"""A worker in a process group of its own: spawn, talk, time out, kill, verify that it is gone."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from fwprof import host
from fwprof.cancellation import Cancellation
from fwprof.codec import FrameReader, frame
from fwprof.errors import InterruptedRunError, WorkerCrashedError
from fwprof.interpreters import inherited_variables
from fwprof.launcher.guard import MARK, Guard, end_strays
from fwprof.launcher.link import WorkerEnded
from fwprof.launcher.log import CappedLog
from fwprof.records import Failure, Fate, StageName, frames

CHUNK_BYTES = 65_536
"""Read at a time. A larger buffer costs the parent 50 µs a block: it is mapped anew each time."""
END_SECONDS = 5.0
"""How long an ended process may take to be collected, and its group to vanish."""


class Switchboard:
    """Waits for one worker while it listens to all of them; sleeps in poll meanwhile."""

    def __init__(self, cancellation: Cancellation) -> None:
        self.cancellation = cancellation
        self._selector = selectors.DefaultSelector()
        self._selector.register(cancellation.open_descriptor(), selectors.EVENT_READ, None)
        self._heard_cancel = False

    def add(self, worker: WorkerProcess) -> None:
        """Listen to a worker's reports and output."""
        self._selector.register(worker.channel, selectors.EVENT_READ, worker.read_channel)
        self._selector.register(worker.output, selectors.EVENT_READ, worker.read_output)

    def remove(self, source: int | socket.socket) -> None:
        """Stop listening to one source."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def wait(self, timeout_s: float) -> None:
        """Sleep until something arrives from anybody, and take it in."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                # One wake-up is enough; a readable descriptor would keep the parent spinning.
                self.remove(self.cancellation.open_descriptor())
            else:
                key.data()

    def close(self) -> None:
        """Stop listening."""
        self._selector.close()
        self.cancellation.close_descriptor()


class WorkerProcess:
    """A child process that serves orders.

    Args:
        switchboard: who listens.
        guard: who ends it should this process die.
        environment: variables on top of this process's own.
        limits: wall-clock limit of each stage, seconds.
        log: where its output is kept; None keeps the end only.
        interpreter: of another environment; None: this process's own.
        program: the module that serves.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        guard: Guard,
        environment: Mapping[str, str],
        limits: Mapping[StageName, float],
        log: Path | None = None,
        interpreter: str | None = None,
        program: str = "fwprof.worker",
    ) -> None:
        self.stage: StageName = "start"
        self._switchboard = switchboard
        self._guard = guard
        self._limits = limits
        self._log = CappedLog(log)
        self._reports: deque[frames.Report] = deque()
        self._reader = FrameReader()
        self._is_closed = False
        self._has_ended = False
        self._garbled = ""
        self._mark = secrets.token_hex(8)
        self._oom_kills = host.kernel_oom_kills()
        self.channel, theirs = socket.socketpair()
        self.output, output = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: a file in the current folder must not shadow a module of a framework.
                [interpreter or sys.executable, "-P", "-m", program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                env={
                    **inherited_variables(interpreter),
                    "PYTHONFAULTHANDLER": "1",
                    "PYTHONUNBUFFERED": "1",
                    MARK: self._mark,
                    **environment,
                },
                start_new_session=True,
            )
        except OSError as error:
            self.channel.close()
            os.close(self.output)
            raise WorkerCrashedError("a worker could not be started", cause=str(error)) from error
        finally:
            theirs.close()
            os.close(output)
        guard.watch(self._process.pid, self._mark)
        self.channel.setblocking(False)
        os.set_blocking(self.output, False)
        switchboard.add(self)
        self._restart_timer()

    @property
    def pid(self) -> int:
        """The worker's process, which leads its process group."""
        return self._process.pid

    def _restart_timer(self) -> None:
        self._deadline = time.monotonic() + self._limits[self.stage]

    def send(self, order: frames.Order) -> None:
        """Give one order; its stage's time limit starts."""
        self._restart_timer()
        # A worker that hangs reads nothing: a long order must not wait for it for ever.
        self.channel.settimeout(self._limits[self.stage])
        # One that is gone, or late, is found out by `receive`, after the reports it sent before.
        with suppress(OSError):
            self.channel.sendall(frame(order))
        self.channel.setblocking(False)

    def receive(self) -> frames.Report:
        """Wait for the next report, within the stage's limit."""
        while not self._reports:
            if self._is_closed:
                raise WorkerEnded(self._post_mortem())
            if self._switchboard.cancellation.is_cancelled and self.stage != "block":
                raise InterruptedRunError("the run was cancelled", next="what was measured is stored")
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise WorkerEnded(self._late())
            self._switchboard.wait(remaining)
        report = self._reports.popleft()
        if isinstance(report, frames.Entered):
            self.stage = report.stage
            self._restart_timer()
        return report

    def read_channel(self) -> None:
        """Take in what arrived from the worker. For the switchboard."""
        try:
            data = self.channel.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            for body in self._reader.feed(data):
                self._reports.append(frames.report_decoder.decode(body))
        except (ValueError, msgspec.MsgspecError) as error:
            # Something in the worker wrote to a descriptor that is not its own.
            self._garbled = f"the worker sent what is no report: {error}"
            data = b""
        if not data:
            self._is_closed = True
            self._switchboard.remove(self.channel)

    def read_output(self) -> None:
        """Take in what the worker printed. For the switchboard."""
        try:
            data = os.read(self.output, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
        else:
            self._switchboard.remove(self.output)

    def end(self) -> None:
        """Kill the process group and its strays, collect the process and see that all are gone."""
        if self._has_ended:
            return
        self._has_ended = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + END_SECONDS
        while end_strays(self._mark) or not host.is_group_gone(self.pid):
            if time.monotonic() > deadline:
                raise WorkerCrashedError(
                    f"processes of worker {self.pid} are still there after SIGKILL",
                    cause="they wait in the kernel (a driver, a network file system)",
                    next=f"look at them: ps -o pid,stat,wchan,cmd -g {self.pid}",
                )
            time.sleep(0.005)
        self._guard.release(self.pid, self._mark)
        self._drain()
        self._switchboard.remove(self.channel)
        self._switchboard.remove(self.output)
        self.channel.close()
        os.close(self.output)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self.output, CHUNK_BYTES):
                self._log.write(data)
        self._last_output = self._log.end()

    def _post_mortem(self) -> Failure:
        """Say why the worker is gone, after it closed its end."""
        if not self._garbled:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        status = self._process.poll()
        self.end()
        fate: Fate = "failed"
        next_step = ""
        if self._garbled:
            message = self._garbled
        elif status is None:
            message = "the worker closed its end and went on; it was killed"
        elif status < 0:
            fate = "killed"
            message = f"the worker was killed by {signal.Signals(-status).name}"
            kills = host.kernel_oom_kills()
            if (
                status == -signal.SIGKILL
                and None not in (kills, self._oom_kills)
                and kills != self._oom_kills
            ):
                fate = "out_of_memory"
                message = "the kernel's out-of-memory killer ended the worker"
                next_step = "lower --batch-size, or close what else uses memory"
        else:
            message = f"the worker left by itself with exit status {status}"
            next_step = "the code it ran called exit; worker.log in the run's folder may say more"
        return Failure(
            fate=fate, stage=self.stage, message=message, next=next_step, traceback=self._last_output
        )

    def _late(self) -> Failure:
        limit = self._limits[self.stage]
        self.end()
        return Failure(
            fate="timeout",
            stage=self.stage,
            message=f"stage {self.stage} took longer than its limit of {limit:g} s; the worker was killed",
            next=f"--limit {self.stage}={limit * 4:g} gives it more time",
            traceback=self._last_output,
        )
