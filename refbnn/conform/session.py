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
from typing import Any, BinaryIO

from . import protocol

STOP_TIMEOUT = 2.0
# Like `python -m refbnn.conform.host`, but with the working folder last on the path from the very beginning: a user's
# random.py or laplace.py must not hide the real one.
HOST = "import sys; sys.path.append(sys.path.pop(0)); from refbnn.conform.host import main; main()"


class Broken(Exception):
    """The process crashed, hung, exited or wrote garbage; it is gone, and the sentence says how."""


class Session:
    """A running adapter process. `ask` sends a request and waits for its reply; after Broken start a new Session."""

    def __init__(self, spec: str, echo: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, spec], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True)
        self.replies: queue.Queue[bytes] = queue.Queue()
        self.stderr: collections.deque[bytes] = collections.deque(maxlen=50)
        self.seq, self.idle = 0, True
        self.readers = [threading.Thread(target=self._read_replies, args=(self.process.stdout,), daemon=True),
                        threading.Thread(target=self._read_stderr, args=(self.process.stderr, echo), daemon=True)]
        for reader in self.readers:
            reader.start()

    def ask(self, op: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """The reply to one request; Broken if none that makes sense comes within `timeout` seconds."""
        self.seq, self.idle = self.seq + 1, False
        self.stderr.clear()
        try:
            self._send({"op": op, "seq": self.seq, **arguments})
            line = self.replies.get(timeout=timeout)
        except OSError:
            raise Broken(self._obituary()) from None
        except queue.Empty:
            self.close()
            raise Broken(f"hung: no answer within {timeout:g} s") from None
        if not line:
            raise Broken(self._obituary())
        return self._checked(line)

    def close(self) -> None:
        """End the process and whatever it started: politely if it is waiting for a question."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if self.idle:
                self._send({"op": "stop", "seq": self.seq + 1})
                self.process.wait(timeout=STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # a request that could not be flushed
            self.process.stdin.close()
        for reader in self.readers:
            reader.join(timeout=1)

    def _send(self, request: dict[str, Any]) -> None:
        self.process.stdin.write(protocol.encode_line(request))
        self.process.stdin.flush()

    def _checked(self, line: bytes) -> dict[str, Any]:
        try:
            reply = protocol.decode_line(line)
            if reply.get("seq") != self.seq or not isinstance(reply.get("ok"), bool):
                raise protocol.Unreadable("wrote a line that answers nothing asked")
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

    def _read_replies(self, stream: BinaryIO) -> None:
        with stream:
            for line in stream:
                self.replies.put(line)
        self.replies.put(b"")

    def _read_stderr(self, stream: BinaryIO, echo: bool) -> None:
        with stream:
            for line in stream:
                self.stderr.append(line)
                if echo:
                    sys.stderr.write(line.decode("utf-8", "replace"))


def _ending(status: int | None) -> str:
    if status is None:
        return "closed its channel and went on running"
    if status < 0:
        return f"crashed: killed by {signal.Signals(-status).name}"
    return f"ended its process with exit status {status}"
