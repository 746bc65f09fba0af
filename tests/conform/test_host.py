"""The protocol: what goes in comes out bit by bit, and what is not of it is refused."""

import io
import json

import numpy as np
import pytest

from refbnn.conform import host, protocol
from refbnn.conform.problem import ARRAYS
from refbnn.conform.protocol import Unreadable

NASTY = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1 + 0.2, 1 / 3, -1e23, 2.0 ** 53 + 2,
         np.nextafter(1, 2), np.pi * 1e-200]


def test_nasty_doubles_survive_the_channel_bit_by_bit():
    sent = np.array(NASTY + [np.inf, -np.inf, np.nan]).reshape(2, 7)
    line = protocol.encode_line({"answer": protocol.encode_array(sent)})
    got = protocol.decode_array(protocol.decode_line(line)["answer"])
    assert got.shape == sent.shape and got.tobytes() == sent.tobytes()
    assert json.loads(line) and line.isascii() and line.count(b"\n") == 1


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1, 2)])
def test_shapes_survive_the_channel(shape):
    assert protocol.decode_array(protocol.encode_array(np.ones(shape))).shape == shape


def test_a_problem_survives_the_channel_bit_by_bit(small):
    line = protocol.encode_line({"problem": protocol.encode_problem(small.problem)})
    got = protocol.decode_problem(protocol.decode_line(line)["problem"])
    for name in ARRAYS:
        sent, received = getattr(small.problem, name), getattr(got, name)
        assert received.dtype == sent.dtype and received.tobytes() == sent.tobytes() and not received.flags.writeable
    assert (got.sizes, got.variance, got.bias) == (small.problem.sizes, small.problem.variance, small.problem.bias)


@pytest.mark.parametrize("item", [
    None, [], 3.0, {}, {"shape": [1]}, {"shape": [1], "data": [1], "more": 0}, {"shape": 1, "data": [1]},
    {"shape": [2], "data": [1]}, {"shape": [-1], "data": []}, {"shape": [True], "data": [1]}, {"shape": [1], "data": ["1"]},
    {"shape": [1], "data": [None]}, {"shape": [1], "data": [True]}, {"shape": [1], "data": [[1]]}, {"shape": [1.0], "data": [1]},
    {"shape": [1], "data": {"0": 1}}, {"shape": [1], "data": [10 ** 400]}, {"shape": [0] * 9, "data": []},
    {"shape": [10 ** 12, 0], "data": []}])
def test_what_is_not_an_array_is_refused(item):
    with pytest.raises(Unreadable):
        protocol.decode_array(item)


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"3\n", b"[]", b"{", b"{}{}", b"nan", b"[" * 100_000])
def test_what_is_not_a_json_object_is_refused(line):
    with pytest.raises(Unreadable):
        protocol.decode_line(line)


@pytest.mark.parametrize("answer, shape", [(3, ()), (np.float32(0.5), ()), ([1, 2], (2,)), (np.ones((2, 1)), (2, 1)),
                                           ((1.0,), (1,)), (np.arange(3, dtype=np.uint8), (3,))])
def test_real_numbers_of_any_kind_are_answers(answer, shape):
    got = protocol.decode_array(protocol.encode_answer(answer))
    assert got.shape == shape and np.array_equal(got, np.asarray(answer, float))


@pytest.mark.parametrize("answer", [None, "1.0", b"1", {}, set(), print, True, [True], 1j, [None], [[1], [1, 2]], object(),
                                    np.array(["1"]), np.datetime64("2020-01-01")])
def test_anything_else_is_no_answer(answer):
    with pytest.raises(Unreadable, match="^returned "):
        protocol.encode_answer(answer)


def test_messages_are_one_printable_line():
    assert protocol.one_line("a\nb\tc\x1b[31m\x00") == "a b c?[31m?"
    assert len(protocol.one_line("x" * 1000)) == protocol.MAX_MESSAGE


def test_the_host_answers_each_request_by_its_id_and_ends_at_stop(small):
    case = protocol.case_request(small.id, small.problem, ["loss"])
    requests = [{"id": "a", **protocol.start_request({})}, {"id": "b", **protocol.echo_request()}, {"id": "c", **case},
                {"op": "prepare", "id": "d"}, {"op": "run", "id": "e", "quantity": "loss"}, {"op": "nonsense", "id": "f"},
                {"op": "stop", "id": "g"}, {"op": "run", "id": "h", "quantity": "loss"}]
    found = served(b"".join(map(protocol.encode_line, requests)))
    assert [(reply["id"], reply["ok"]) for reply in found] == [
        ("a", True), ("b", True), ("c", True), ("d", True), ("e", True), ("f", False)]
    assert "ggn.full" in protocol.read_introduction(found[0]).quantities and found[0]["name"] == "refbnn"
    protocol.check_echo(found[1])
    assert protocol.read_answer(found[4]).shape == ()


def served(requests: bytes) -> list[dict]:
    replies = io.BytesIO()
    host.serve("refbnn", io.BytesIO(requests), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


@pytest.mark.parametrize("line, complaint", [
    ("garbage", "not a request: wrote a line that is not JSON"), ("[]", "not a JSON object"),
    ("{}", "expected an op out of start"),
    ('{"op": ["run"]}', "expected an op"), ('{"op": "start", "protocol": 2}', "expected protocol 1, got '2'"),
    ('{"op": "echo", "array": 3}', "an array must be an object"),
    ('{"op": "case", "quantities": ["gnn"]}', "names of quantities"),
    ('{"op": "case", "quantities": [], "problem": {"X": 1}}', "problem: expected an object with the keys sizes"),
    ('{"op": "run", "quantity": "gnn.full"}', "expected the name of a quantity"),
    ('{"op": "run", "quantity": "loss"}', "before case"),
    ('{"op": "prepare"}', "prepare before case")])
def test_the_host_says_what_is_wrong_with_a_request_and_goes_on(line, complaint):
    bad, good = served(line.encode() + b"\n" + protocol.encode_line({"id": "a", **protocol.start_request({})}))
    assert not bad["ok"] and complaint in bad["error"] and good["ok"]


def test_a_case_before_start_is_told(small):
    (reply,) = served(protocol.encode_line({"id": "c", **protocol.case_request(small.id, small.problem, ["loss"])}))
    assert reply == {"id": "c", "ok": False, "error": "case before start", "seconds": reply["seconds"]}


def _reply(**changes) -> dict:
    return {"id": "start", "ok": True, "protocol": 1, "name": "mine", "version": "1", "quantities": ["loss"], **changes}


@pytest.mark.parametrize("changes, complaint", [
    ({"protocol": 2}, "speaks protocol '2', the kit speaks 1"), ({"protocol": None}, "speaks protocol"),
    ({"name": 3}, "name: expected a text"), ({"version": None}, "version: expected a text"),
    ({"conventions": []}, "conventions: expected an object of texts"), ({"known_failures": {"a": 1}}, "an object of texts"),
    ({"quantities": "loss"}, "quantities: expected a list"), ({"quantities": ["los"]}, "'los' is no quantity; nearest is loss"),
    ({"quantities": [["loss"]]}, "is no quantity")])
def test_an_introduction_that_is_none_is_told(changes, complaint):
    with pytest.raises(Unreadable, match=complaint):
        protocol.read_introduction(_reply(**changes))


def test_an_introduction_needs_little():
    said = protocol.read_introduction(_reply())
    assert (said.name, said.conventions, said.quantities, said.prepares) == ("mine", {}, ("loss",), False)


@pytest.mark.parametrize("spoil, complaint", [
    (lambda x: float(f"{x:.6g}"), "loses digits on the way"), (lambda x: float(f"{x:.15g}"), "loses digits"),
    (lambda x: float(f"{x:.16g}"), "loses digits"), (lambda x: float(np.float32(x)), "loses digits"),
    (lambda x: 0.0 if abs(x) < 1e-307 else x, "in [0-9] of 20 numbers"),
    (lambda x: x if abs(x) < 1e300 else np.inf, "in 1 of 20")])
@pytest.mark.filterwarnings("ignore:overflow")
def test_echo_exposes_numbers_that_lose_digits(spoil, complaint):
    array = protocol.encode_array(np.array([spoil(x) for x in protocol.NASTY]))
    with pytest.raises(Unreadable, match=complaint):
        protocol.check_echo({"ok": True, "array": array})


@pytest.mark.parametrize("reply, complaint", [
    ({"ok": True}, "without an array"), ({"ok": False, "error": "no such op"}, "could not send numbers back: no such op"),
    ({"ok": True, "array": {"shape": [1], "data": [0]}}, "sent back an array of shape")])
def test_an_echo_that_is_none_is_told(reply, complaint):
    with pytest.raises(Unreadable, match=complaint):
        protocol.check_echo(reply)


def test_the_sign_of_a_zero_may_be_lost():
    data = [abs(x) if x == 0 else x for x in protocol.NASTY]
    protocol.check_echo({"ok": True, "array": {"shape": [len(data)], "data": data}})
