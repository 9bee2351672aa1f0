"""JSON and messages say the same, both ways, and errors repeat no value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import EnumType
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from jarvis_secretsd.errors import InvalidRequest, MalformedInput, Reason
from jarvis_secretsd.messages import (
    MAX_PAGE,
    Created,
    Failure,
    FailureInfo,
    Found,
    Get,
    Health,
    List,
    MetricsText,
    Moment,
    Operation,
    Put,
    Request,
    RequestId,
    Result,
    Rotated,
)
from jarvis_secretsd.values import BearerToken, ClientId, Kid, SecretName, SecretValue
from jarvis_secretsd.wire.codec import (
    MAX_MESSAGE,
    decode_body,
    decode_reply,
    decode_request,
    encode_body,
    encode_reply,
    encode_request,
)
from jarvis_secretsd.wire.table import TABLE
from tests.wire.talk import DUE, FOUND, KID, NAME

CANARY = "hunter2-canary"

NAMES = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,9}(/[a-z0-9_]{1,9})?", fullmatch=True)
CLIENTS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True).map(ClientId)
TOKENS = st.text(min_size=1, max_size=50).map(BearerToken)
IDS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=16)
TEXTS = st.text(max_size=20)
TIMES = st.datetimes(timezones=st.just(UTC))
BYTES = st.binary(max_size=50)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
"""What a token's claims may hold: any JSON, also numbers that no machine word holds."""

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    type(None): st.none(),
    datetime: TIMES,
    Moment: TIMES,
    SecretName: NAMES.map(SecretName),
    ClientId: CLIENTS,
    Kid: st.from_regex(r"[0-9a-f]{16}", fullmatch=True).map(Kid),
    BearerToken: TOKENS,
    Any: JSON,
    Found: st.builds(
        Found, st.just(NAME), TEXTS.map(SecretValue.from_text), st.just(KID), TIMES, st.just(1)
    )
    | st.builds(
        lambda data: Found(NAME, SecretValue(data, is_text=False), KID, DUE, 1, "base64"), BYTES
    ),
}


def made(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of this type, as the messages annotate their fields."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in SIMPLE:
        return SIMPLE[kind]
    if origin in (Union, UnionType):
        return st.one_of(*map(made, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(made(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(made(arguments[0]), made(arguments[1]), max_size=3)
    if isinstance(kind, EnumType):
        return st.sampled_from(list(kind))
    assert issubclass(kind, Struct)
    return st.builds(kind, **{field.name: made(field.type) for field in structs.fields(kind)})


FRAMED = [row for row in TABLE if row.framed]
OPERATIONS = st.one_of([made(row.operation) for row in FRAMED])
RESULTS = st.one_of([made(row.result) for row in FRAMED] + [made(Created)])


def shown(body: bytes) -> Any:
    """The reply's JSON."""
    return json.loads(body)


@given(OPERATIONS, st.none() | CLIENTS, st.none() | TOKENS, IDS)
@settings(max_examples=300)
def test_a_request_arrives_as_it_was_sent(
    operation: Operation, client: ClientId | None, token: BearerToken | None, id: RequestId | None
) -> None:
    """Every operation, claim, token and id survives the frame; only a list gets its page's size."""
    asked = decode_request(encode_request(operation, client, token, id))
    if isinstance(operation, List) and operation.limit is None:
        operation = List(operation.after, MAX_PAGE)
    assert isinstance(asked.what, Request)
    assert (asked.what.operation, asked.what.client, asked.id) == (operation, client, id)
    told = asked.what.token
    assert (told and told.reveal()) == (token and token.reveal())
    assert not asked.last


@given(RESULTS, IDS)
@settings(max_examples=300)
def test_a_result_arrives_as_it_was_given(result: Result, id: RequestId | None) -> None:
    """Every result survives the frame, values to the byte, and the id comes back."""
    body = encode_reply(result, id)
    back = decode_reply(body, type(result))
    assert structs.asdict(back).keys() == structs.asdict(result).keys()
    for field in result.__struct_fields__:
        there, here = getattr(back, field), getattr(result, field)
        if isinstance(here, BearerToken):
            there, here = there.reveal(), here.reveal()
        assert there == here
    assert shown(body).get("id") == id
    assert shown(body)["ok"] is True


@given(made(Failure), IDS)
def test_a_failure_arrives_whatever_was_asked(failure: Failure, id: RequestId | None) -> None:
    """An error needs no knowledge of the result that it stands for."""
    body = encode_reply(failure, id)
    assert decode_reply(body, Found) == failure
    assert shown(body).get("id") == id
    assert shown(body)["ok"] is False


@given(st.one_of([made(row.operation) for row in TABLE if row.method == "POST"]))
def test_an_http_body_is_the_operation_without_its_op(operation: Operation) -> None:
    """Fields go by the names that bodies use, and an `op` among them is unknown."""
    fields = {
        field.encode_name: getattr(operation, field.name)
        for field in structs.fields(type(operation))
    }
    plain = json.loads(json.dumps(fields, default=structs.asdict))
    assert decode_body(json.dumps(plain).encode(), type(operation)) == operation
    with pytest.raises(InvalidRequest, match="unknown field `op`"):
        decode_body(json.dumps(plain | {"op": "put"}).encode(), type(operation))


def test_compact_json_in_the_order_of_the_documents() -> None:
    """Bytes on the wire are those that the documents show."""
    request = encode_request(Get(NAME), ClientId("backend"), None, 7)
    assert request == b'{"op":"get","name":"postgres_password","client":"backend","id":7}'
    reply = encode_reply(FOUND, 7)
    assert reply == (
        b'{"id":7,"ok":true,"result":{"name":"postgres_password","value":"s3cret",'
        b'"kid":"5f2c01a99be37d10","expires_at":"2026-11-25T09:41:07Z","version":3}}'
    )
    assert encode_reply(Failure("denied", "no"), "a") == (
        b'{"id":"a","ok":false,"error":{"code":"denied","message":"no"}}'
    )


WRONG = {
    b'{"op":"nope","id":5}': "$.op",
    b'{"op":"metrics","id":5}': "$.op",
    b'{"op":"get","op":"delete","name":"a","id":5}': "$.op",
    b'{"id":5}': "missing required field `op`",
    b'{"op":"get","id":5}': "missing required field `name`",
    b'{"op":"get","name":5,"id":5}': "got `int` - at `$.name`",
    b'{"op":"get","name":"A b","id":5}': "did you mean 'a_b'? - at `$.name`",
    b'{"op":"get","name":"a\\n","id":5}': "character 2 is '\\n'",
    b'{"op":"get","name":"a","kid":"5F","id":5}': "a kid is 16",
    b'{"op":"get","name":"a","client":"-x","id":5}': "a client id is",
    b'{"op":"get","name":"a","extra":1,"id":5}': "unknown field `extra`",
    b'{"op":"rotate","names":["a","B"],"id":5}': "$.names[1]",
    b'{"op":"rotate","generate":{"kind":"token","size":1},"id":5}': "$.generate",
    b'{"op":"health","token":5,"id":5}': "$.token",
    b'{"op":"get","name":"a","\\u001b[2J\\n":1,"id":5}': "unknown field `?[2J?`",
}


@pytest.mark.parametrize("body", WRONG)
def test_a_wrong_request_is_told_so_under_its_id_and_the_talk_goes_on(body: bytes) -> None:
    """Well-formed but wrong: its error says what and where, and names the request."""
    asked = decode_request(body)
    assert isinstance(asked.what, Failure)
    assert asked.what.code == "invalid_request"
    assert WRONG[body] in asked.what.message
    assert (asked.id, asked.last) == (5, False)


MALFORMED = [
    b"x",
    b"[]",
    b'"get"',
    b"null",
    b"{",
    b'{"op":"health"}{"op":"health"}',
    b'{"op":"health","id":1.0}',
    b'{"op":"health","id":true}',
    b'{"op":"health","id":[]}',
    b'{"op":"health","id":9223372036854775808}',
    b'{"op":"health","id":"%s"}' % (b"x" * 65),
    '{"op":"health","id":"%s"}'.replace("%s", "ü" * 33).encode(),
    b'{"op":"get","name":"\xff"}',
    b'{"op":"get","name":"a","z":"\xff"}',
    b'{"op":"get","name":"\\ud800"}',
    b'{"op":"get","name":NaN}',
    b'\xef\xbb\xbf{"op":"health"}',
    '{"op":"health"}'.encode("utf-16"),
    b'{"op":"get","z":' + b"[" * 300_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_object_with_a_valid_id_ends_the_talk(body: bytes) -> None:
    """Not JSON, not UTF-8, not an object, or an id that can't be one: the last word."""
    asked = decode_request(body)
    assert isinstance(asked.what, Failure)
    assert (asked.what.code, asked.id, asked.last) == ("invalid_request", None, True)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_raise(body: bytes) -> None:
    """Whatever comes is an answer, never an exception."""
    decode_request(body)


@pytest.mark.parametrize("value", ["5432", "1e400", "1.10", "007", "true", '["a"]', '{"k":1}'])
def test_a_value_that_is_no_text_is_refused_not_converted(value: str) -> None:
    """A number as a value would come back as another text."""
    with pytest.raises(InvalidRequest):
        decode_body(f'{{"name":"n1","value":{value}}}'.encode(), Put)


@pytest.mark.parametrize("value", ["", "0123", "a\0b", "\u2028", "x\n", " x "])
def test_a_text_value_is_kept_to_the_byte(value: str) -> None:
    """Nothing is trimmed, normalised or lost, NUL included."""
    body = json.dumps({"name": "n1", "value": value}).encode()
    assert decode_body(body, Put) == Put(SecretName("n1"), value)


@pytest.mark.parametrize(
    "fields",
    [
        f'"kind":"{CANARY}"',
        f'"kind":"{CANARY} - at `$.x`"',
        f'"kind":"\\n{CANARY}"',
        f'"encoding":"{CANARY}"',
        f'"value":["{CANARY}"]',
        f'"value":"{CANARY}"]',
        f'"value":"{CANARY}',
        f'"value":"{CANARY}","rotation_days":{"9" * 5000}',
        f'"rotation_days":"{CANARY}"',
    ],
)
def test_an_error_repeats_no_value(fields: str) -> None:
    """What stands in a field may be a secret in the wrong place."""
    body = f'"name":"a",{fields}}}'.encode()
    framed = decode_request(b'{"op":"put",' + body)
    assert isinstance(framed.what, Failure)
    with pytest.raises(InvalidRequest) as fault:
        decode_body(b"{" + body, Put)
    assert CANARY not in framed.what.message + fault.value.message


def test_an_unknown_op_is_not_repeated() -> None:
    """It may be anything, a secret too."""
    asked = decode_request(f'{{"op":"{CANARY}"}}'.encode())
    assert isinstance(asked.what, Failure)
    assert CANARY not in asked.what.message


def test_a_long_field_name_does_not_make_a_long_message() -> None:
    """A message is short whatever was sent."""
    asked = decode_request(b'{"op":"health","%s":1}' % (b"x" * 100_000))
    assert isinstance(asked.what, Failure)
    assert len(asked.what.message) <= MAX_MESSAGE + 3


def test_a_base64_value_of_the_largest_size_arrives() -> None:
    """Its base64 is longer than a value may be, and that is no reason to refuse it."""
    value = SecretValue(bytes(256 * 1024), is_text=False)
    body = encode_reply(Found(NAME, value, KID, DUE, 1, "base64"))
    back = decode_reply(body, Found)
    assert isinstance(back, Found)
    assert back.value == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"ok":true}',
        b'{"ok":false}',
        b'{"ok":1,"result":{}}',
        b'{"ok":true,"result":{"name":"a"}}',
        b'{"ok":true,"result":{"name":"a","value":"%","kid":"5f2c01a99be37d10",'
        b'"expires_at":"2026-11-25T09:41:07Z","version":3,"encoding":"base64"}}',
    ],
)
def test_what_is_no_reply_is_malformed(body: bytes) -> None:
    """A client never takes half a reply for one."""
    with pytest.raises(MalformedInput, match="not a reply"):
        decode_reply(body, Found)


def test_a_client_passes_over_what_a_newer_daemon_adds() -> None:
    """New fields in replies break no old client."""
    body = encode_reply(FOUND).replace(b'"version":3', b'"version":3,"colour":"red"')
    assert decode_reply(body, Found) == FOUND


def test_http_errors_say_code_message_and_reason() -> None:
    """The body of an error has the members that the documents promise, and no others."""
    assert encode_body(Failure("denied", "no")) == b'{"error":"denied","message":"no"}'
    failure = Failure("unavailable", "full", Reason.STORAGE_FULL, ("GET",))
    assert shown(encode_body(failure)) == {
        "error": "unavailable",
        "message": "full",
        "reason": "storage_full",
    }


def test_a_rotation_that_failed_reads_as_an_error() -> None:
    """Nothing rotated: the first error stands where errors stand, and each name keeps its own."""
    failed = {"a": FailureInfo("not_found", "gone"), "b": FailureInfo("denied", "no")}
    body = shown(encode_body(Rotated((), 0, (), failed)))
    assert (body["error"], body["message"]) == ("not_found", "gone")
    assert body["failed"].keys() == {"a", "b"}
    assert "error" not in shown(encode_body(Rotated((NAME,), 1, (), failed)))
    assert "error" not in shown(encode_body(Rotated((), 0, (NAME,), failed)))
    assert "error" not in shown(encode_body(Rotated((), 0, (), {})))


def test_metrics_are_not_asked_for_in_a_frame() -> None:
    """Prometheus text is no JSON, so only HTTP has it."""
    assert [row.operation.__name__ for row in TABLE if not row.framed] == ["Metrics"]
    assert {row.result for row in TABLE if not row.framed} == {MetricsText}


def test_no_body_holds_no_fields() -> None:
    """A POST of an operation that needs nothing needs no body."""
    assert decode_body(b"", Health) == Health()
    with pytest.raises(InvalidRequest, match="missing required field `name`"):
        decode_body(b"", Put)
