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
    {"shape": [1], "data": {"0": 1}}])
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


def test_the_host_answers_each_request_with_its_number_and_ends_at_stop(small):
    problem = protocol.encode_problem(small.problem)
    requests = [{"op": "start", "seq": 1},
                {"op": "case", "seq": 2, "id": small.id, "problem": problem, "quantities": ["loss"]},
                {"op": "prepare", "seq": 3}, {"op": "run", "seq": 4, "quantity": "loss"}, {"op": "nonsense", "seq": 5},
                {"op": "stop", "seq": 6}, {"op": "run", "seq": 7, "quantity": "loss"}]
    replies = io.BytesIO()
    host.serve("refbnn", io.BytesIO(b"".join(map(protocol.encode_line, requests))), replies)
    found = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert [(reply["seq"], reply["ok"]) for reply in found] == [(1, True), (2, True), (3, True), (4, True), (5, False)]
    assert found[0]["name"] == "refbnn" and "ggn.full" in found[0]["quantities"]
    assert protocol.decode_array(found[3]["answer"]).shape == ()
