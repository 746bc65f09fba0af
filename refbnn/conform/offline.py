"""Questions in a file, answers from anywhere: the protocol of a live adapter, written down (see PROTOCOL.md).

`write` puts every request on a line of its own, so that a program that speaks the protocol answers with
`PROGRAM < questions > answers`; `judge` reads replies in any order and says what it says of a live adapter.
"""

from __future__ import annotations

from typing import Any, Iterator

from . import conventions, protocol
from .case import Case
from .quantities import Quantity
from .run import Check, Outcome, Plan, Run, identity, record, subject
from .compare import Verdict


UNANSWERED = "no answer in the file (`check` needs the -k of `emit`)"


class FileError(ValueError):
    """A file of answers that cannot be judged: which line, what was expected."""


def questions(plan: Plan) -> Iterator[bytes]:
    """Every request of a run, one a line."""
    yield _line("start", protocol.start_request(conventions.DEFAULTS))
    yield _line("echo", protocol.echo_request())
    for case, quantities in plan:
        yield _line(f"case {case.id}", protocol.case_request(case.id, case.problem, [q.name for q in quantities]))
        for quantity in quantities:
            yield _line(identity(case, quantity), {"op": "run", "quantity": quantity.name})
    yield _line("stop", {"op": "stop"})


def _line(name: str, request: dict[str, Any]) -> bytes:
    return protocol.encode_line({"id": name, **request})


def judge(path: str, plan: Plan) -> Run:
    """The run whose replies stand in the file. FileError if it has no introduction, lossy numbers or what is no reply."""
    with open(path, "rb") as stream:
        return judge_bytes(stream.read(), path, plan)


def judge_bytes(text: bytes, path: str, plan: Plan) -> Run:
    """The same from the bytes of a file of that name."""
    replies = _read(text, path)
    said = _introduction(path, replies)
    result = Run(subject(path, said), plan)
    known = {"start", "echo", "stop"}
    for case, quantities in plan:
        gaps = _gaps(replies, case)
        known |= {f"case {case.id}", f"prepare {case.id}"} | {identity(case, quantity) for quantity in quantities}
        for quantity in quantities:
            _judge(result, case, quantity, gaps, replies)
    strange = sorted(set(replies) - known)
    if strange:
        others = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise FileError(f"{path}: {protocol.one_line(strange[0])!r} is no question here{others}")
    return result


def _read(text: bytes, path: str) -> dict[str, dict[str, Any]]:
    """The replies by id."""
    replies: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            name, reply = _reply(f"{path}: line {number}", line)
            if name in replies:
                raise FileError(f"{path}: line {number}: a second reply to {protocol.one_line(name)!r}")
            replies[name] = reply
    return replies


def _reply(where: str, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        name = protocol.decode_line(line).get("id")
        if not isinstance(name, str):
            raise protocol.Unreadable("has no id, the text that stands in the question")
        return name, protocol.read_reply(line, name)
    except protocol.Unreadable as error:
        raise FileError(f"{where}: {protocol.one_line(str(error))}") from None


def _introduction(path: str, replies: dict[str, dict[str, Any]]) -> protocol.Introduction:
    for name in ("start", "echo"):
        if name not in replies:
            raise FileError(f"{path}: no reply to {name!r}")
        if not replies[name]["ok"]:
            raise FileError(f"{path}: {name}: {replies[name]['error']}")
    try:
        protocol.check_echo(replies["echo"])
        return protocol.read_introduction(replies["start"])
    except protocol.Unreadable as error:
        raise FileError(f"{path}: {error}") from None


def _gaps(replies: dict[str, dict[str, Any]], case: Case) -> dict[str, str] | str:
    """Declared gaps of the case, or what is wrong with its reply."""
    reply = replies.get(f"case {case.id}", {"ok": True})
    try:
        return protocol.read_gaps(reply) if reply["ok"] else f"prepare: {reply['error']}"
    except protocol.Unreadable as error:
        return f"prepare: {error}"


def _judge(result: Run, case: Case, quantity: Quantity, gaps: dict[str, str] | str,
           replies: dict[str, dict[str, Any]]) -> None:
    reply = replies.get(identity(case, quantity))
    if quantity.name not in result.subject.quantities:
        record(result, case, quantity, Outcome(gap="no function " + quantity.function_name))
    elif isinstance(gaps, str):
        record(result, case, quantity, Outcome(error=gaps))
    elif quantity.name in gaps:
        record(result, case, quantity, Outcome(gap=gaps[quantity.name]))
    elif reply is None:
        result.checks.append(Check(case.id, quantity.name, Verdict.SKIP, UNANSWERED))
    else:
        record(result, case, quantity, _outcome(reply))


def _outcome(reply: dict[str, Any]) -> Outcome:
    seconds = protocol.read_seconds(reply)
    if not reply["ok"]:
        return Outcome(error=reply["error"], seconds=seconds)
    try:
        return Outcome(answer=protocol.read_answer(reply), seconds=seconds)
    except protocol.Unreadable as error:
        return Outcome(error=str(error))
