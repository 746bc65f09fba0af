"""The child process that runs an adapter: `python -m refbnn.conform.host ADAPTER`, requests on stdin, replies on stdout.

The adapter may print, raise, exit or write into its inputs: each becomes a reply that says so. What it prints goes to
stderr, because the channel to the kit is a private copy of stdout made before any of its code runs.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import Any, BinaryIO, Callable

from . import load, protocol, quantities
from .problem import ARRAYS, Problem


class Host:
    """Answers requests about one adapter, one case at a time."""

    def __init__(self, spec: str) -> None:
        self.spec, self.adapter, self.problem, self.prepared = spec, None, None, False
        self.handlers: dict[str, Callable[[dict], dict]] = {
            "start": self.start, "echo": self.echo, "case": self.case, "prepare": self.prepare, "run": self.run}

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request; whatever the adapter raises becomes its "error"."""
        began = time.perf_counter()
        try:
            result = self.handlers[request["op"]](request)
        except (load.LoadError, protocol.Unreadable) as error:
            result = {"error": str(error)}
        except BaseException as error:  # the isolation boundary: SystemExit and KeyboardInterrupt are the adapter's too
            traceback.print_exception(error)
            result = {"error": ("importing it " if request["op"] == "start" else "") + _blame(error)}
        identity = request.get("id")
        return {"id": identity if isinstance(identity, str) else None, "ok": "error" not in result,
                "seconds": time.perf_counter() - began, **result}

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import the adapter and say what it is."""
        self.adapter = load.load(self.spec)
        return {"protocol": protocol.VERSION, "prepare": True, **load.describe(self.adapter, self.spec)}

    def echo(self, request: dict[str, Any]) -> dict[str, Any]:
        """The numbers as they were read."""
        return {"array": protocol.encode_array(request["array"])}

    def case(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take the problem; which of the quantities the adapter declares unsupported for it, with the reasons."""
        _require(self.adapter is not None, "case before start")
        self.pristine = request["problem"]
        self.problem, self.prepared = self.pristine.copy(), False
        unsupported = getattr(self.adapter, "unsupported", _nothing)
        reasons = {name: unsupported(self.problem, name) for name in request["quantities"]}
        return {"unsupported": {name: protocol.one_line(str(reason)) for name, reason in reasons.items() if reason},
                **self._mutated()}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let the adapter build its state; without a `prepare` the state is the problem."""
        _require(self.problem is not None, "prepare before case")
        prepare = getattr(self.adapter, "prepare", None)
        self.state, self.prepared = prepare(self.problem) if prepare else self.problem, True
        return self._mutated()

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """One quantity's answer; questions in a file ask for no preparation, so it may still be due."""
        _require(self.problem is not None, "run before case")
        name = quantities.QUANTITIES[request["quantity"]].function_name
        _require(hasattr(self.adapter, name), f"the adapter has no function {name}")
        if not self.prepared:
            self.prepare(request)
        return {"answer": protocol.encode_answer(getattr(self.adapter, name)(self.state)), **self._mutated()}

    def _mutated(self) -> dict[str, Any]:
        """An error if the adapter wrote into the problem; the kit then sends the case again."""
        changed = [name for name in ARRAYS if _differs(self.problem, self.pristine, name)]
        if not changed:
            return {}
        return {"error": f"wrote into problem.{', problem.'.join(changed)}: inputs must be left as they are",
                "mutated": True}


def _differs(problem: Problem, pristine: Problem, name: str) -> bool:
    return getattr(problem, name).tobytes() != getattr(pristine, name).tobytes()


def _nothing(problem: Problem, quantity: str) -> None:
    """The `unsupported` of an adapter that declares no gap."""


def _blame(error: BaseException) -> str:
    """The exception in one line, with where the adapter's code was entered and where it was raised."""
    if isinstance(error, SystemExit):
        return f"called sys.exit({error.code!r})"
    here = os.path.dirname(os.path.abspath(__file__))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if os.path.dirname(os.path.abspath(frame.filename)) != here and not frame.filename.startswith("<frozen")]
    ends = dict.fromkeys(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in (*frames[:1], *frames[-1:]))
    place = f" ({', '.join(ends)})" if ends else ""
    return protocol.one_line(f"raised {type(error).__name__}: {error}")[:protocol.MAX_MESSAGE - len(place)] + place


def serve(spec: str, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until "stop" or the end of the stream; what is no request is told so and costs nothing else."""
    host = Host(spec)
    for line in requests:
        try:
            request = protocol.read_request(line)
        except protocol.Unreadable as error:
            reply = {"id": _id_of(line), "ok": False, "error": f"not a request: {error}"}
        else:
            if request["op"] == "stop":
                return
            reply = host.reply(request)
        replies.write(protocol.encode_line(reply))
        replies.flush()


def _id_of(line: bytes) -> str | None:
    """The id on a line that is no request, if it can be read."""
    try:
        found = protocol.decode_line(line).get("id")
    except protocol.Unreadable:
        return None
    return found if isinstance(found, str) else None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise protocol.Unreadable(otherwise)


def _private_channels() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the kit on new descriptors; fd 0 reads nothing and fd 1 is stderr from here on."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def main() -> None:
    """Serve the adapter named on the command line."""
    requests, replies = _private_channels()
    serve(sys.argv[1], requests, replies)


if __name__ == "__main__":
    main()
