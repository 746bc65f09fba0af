"""The kit's end of the pipe: one adapter process, asked one question at a time under a time limit."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any, BinaryIO, Sequence

from . import protocol

STOP_TIMEOUT = 2.0
MAX_LINE = 150_000_000  # bytes: MAX_NUMBERS of them with all their digits


class Broken(Exception):
    """The process crashed, hung, exited or wrote garbage; it is gone, and the sentence says how."""


class Session:
    """A running adapter process. `ask` sends a request and waits for its reply; after Broken start a new Session."""

    def __init__(self, command: Sequence[str], echo: bool = False) -> None:
        self.process = _started(command)
        self.replies: queue.Queue[bytes] = queue.Queue()
        self.requests: queue.Queue[bytes | None] = queue.Queue()
        self.stderr: collections.deque[bytes] = collections.deque(maxlen=50)
        self.idle = True
        self.threads = [threading.Thread(target=self._write_requests, args=(self.process.stdin,), daemon=True),
                        threading.Thread(target=self._read_replies, args=(self.process.stdout,), daemon=True),
                        threading.Thread(target=self._read_stderr, args=(self.process.stderr, echo), daemon=True)]
        for thread in self.threads:
            thread.start()

    def ask(self, request: dict[str, Any], identity: str, timeout: float) -> dict[str, Any]:
        """The reply to one request; Broken if none that makes sense comes within `timeout` seconds."""
        self.stderr.clear()
        self._refuse_leftovers()
        self.idle = False
        self._send({"id": identity, **request})
        try:
            line = self.replies.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise Broken(f"hung: no answer within {timeout:g} s") from None
        if not line:
            raise Broken(self._obituary())
        return self._checked(line, identity)

    def close(self) -> None:
        """End the process and whatever it started: politely if it is waiting for a question."""
        if self.idle:
            self._send({"id": "stop", "op": "stop"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.requests.put(None)
        for thread in self.threads:
            thread.join(timeout=1)

    def _send(self, request: dict[str, Any]) -> None:
        """By way of a thread: a process that does not read must not make the kit wait for ever."""
        self.requests.put(protocol.encode_line(request))

    def _refuse_leftovers(self) -> None:
        """A line that came after the last reply would be taken for the next one."""
        if not self.replies.empty() and (line := self.replies.get()):
            self.idle = False
            self.close()
            raise Broken(f"had written a line that nobody asked for: {protocol.one_line(line[:60].decode('ascii', 'replace'))!r}")

    def _checked(self, line: bytes, identity: str) -> dict[str, Any]:
        try:
            if len(line) >= MAX_LINE:
                raise protocol.Unreadable(f"wrote a line of more than {MAX_LINE} bytes")
            reply = protocol.read_reply(line, identity)
        except protocol.Unreadable as error:
            self.close()
            raise Broken(str(error)) from None
        self.idle = True
        return reply

    def _obituary(self) -> str:
        """How the process ended, with the last line that it wrote to stderr."""
        try:
            status = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            status = None
        self.close()
        last = next((text for text in (protocol.one_line(line.decode("utf-8", "replace")) for line in
                                       reversed(self.stderr)) if text), "")
        return _ending(status) + (f"; last words: {last}" if last else "")

    def _write_requests(self, stream: BinaryIO) -> None:
        try:
            with stream:
                while line := self.requests.get():
                    stream.write(line)
                    stream.flush()
        except OSError:  # nobody reads any more
            self.replies.put(b"")

    def _read_replies(self, stream: BinaryIO) -> None:
        with stream:
            while line := stream.readline(MAX_LINE):
                self.replies.put(line)
                if len(line) == MAX_LINE:
                    return
        self.replies.put(b"")

    def _read_stderr(self, stream: BinaryIO, echo: bool) -> None:
        with stream:
            while line := stream.readline(protocol.MAX_MESSAGE * 100):
                self.stderr.append(line)
                if echo:
                    sys.stderr.write(line.decode("utf-8", "replace"))


def _started(command: Sequence[str]) -> subprocess.Popen:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True)
    except (OSError, ValueError) as error:
        raise Broken(f"could not be started: {protocol.one_line(str(error))}") from None


def _ending(status: int | None) -> str:
    if status is None:
        return "closed its channel and went on running"
    if status < 0:
        names = {member.value: member.name for member in signal.Signals}
        return f"crashed: killed by {names.get(-status, f'signal {-status}')}"
    return f"ended its process with exit status {status}"
