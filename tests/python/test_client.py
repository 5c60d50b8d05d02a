"""Tests of tickwire_client: the vectors of proto/vectors, and the client against servers made up here.

python3 -m unittest discover -s tests/python
"""

import contextlib
import io
import json
import os
import queue
import socket
import ssl
import struct
import threading
import time
import unittest
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import tickwire_client as tw

VECTORS = Path(__file__).resolve().parents[2] / "proto" / "vectors"
MANIFEST = json.loads((VECTORS / "vectors.json").read_text(encoding="utf-8"))
PATIENCE = 5.0  # how long anything here may take before it counts as hanging
EPOCH = 0xFEDC_BA98_7654_3210

AUTH: tw.Schema = {1: ("username", 2, tw.string), 2: ("password", 2, tw.string)}
RESUME: tw.Schema = {1: ("epoch", 0, int), 2: ("after_sequence", 0, int)}
NUMBERS = {name for schema in (RESUME, tw.TICK, tw.BATCH) for name, wire, _ in schema.values() if wire != 2}
SUBSCRIBE: tw.Schema = {
    1: ("mode", 0, int),
    2: ("resume", 2, lambda value: tw.Resume(**dict(tw.decode(RESUME, value)))),
    3: ("symbols", 2, tw.string),
}


def decode_auth(payload: bytes) -> dict[str, Any]:
    return {"username": "", "password": ""} | dict(tw.decode(AUTH, payload))


def decode_subscribe(payload: bytes) -> dict[str, Any]:
    fields = list(tw.decode(SUBSCRIBE, payload))
    symbols = [value for name, value in fields if name == "symbols"]
    return {"mode": 0, "resume": None} | dict(fields) | {"symbols": symbols}


FROM_CLIENT: tw.Decoders = {
    tw.AUTH: decode_auth,
    tw.SUBSCRIBE: decode_subscribe,
    tw.HEARTBEAT: tw.FROM_SERVER[tw.HEARTBEAT],
}
FROM_BOTH = {**tw.FROM_SERVER, **FROM_CLIENT}


def message(schema: tw.Schema, values: dict[str, Any]) -> bytes:
    """What a server encodes: the schema's fields in order, without those that have their default."""
    payload = b""
    for number, (name, wire, _) in schema.items():
        value = values.get(name, 0)
        if wire == 1:
            payload += bytes([number << 3 | 1]) + struct.pack("<Q", value)
        elif isinstance(value, list):
            payload += b"".join(tw.field(number, message(tw.TICK, asdict(item))) for item in value)
        elif value:
            payload += tw.field(number, value.encode() if wire == 2 else value % (1 << 64))
    return payload


def batch(first: int, last: int, ticks: Sequence[tw.Tick] = (), epoch: int = EPOCH, schema: int = 1) -> bytes:
    values = tw.Batch(schema, list(ticks), epoch, first, last)
    fields = {name: getattr(values, name) for name in values.__slots__}
    return tw.frame(tw.DATA_BATCH, message(tw.BATCH, fields))


def full(first: int, last: int, epoch: int = EPOCH) -> bytes:
    """A batch with one tick for each number of its range; a tick's open price is its number, negated."""
    ticks = [tw.Tick("BTCUSDT", 10**18 + n, -n, 1, -n, 0, 2**64 - n, 1) for n in range(first, last + 1)]
    return batch(first, last, ticks, epoch)


def opening(first: int, epoch: int = EPOCH) -> bytes:
    return batch(first, first - 1, (), epoch)


def error(code: int, text: str = "", retry_after_ms: int = 0) -> bytes:
    fields = {"code": code, "message": text, "retry_after_ms": retry_after_ms}
    return tw.frame(tw.ERROR, message(tw.SERVER_ERROR, fields))


HEARTBEAT = tw.frame(tw.HEARTBEAT)


class Peer:
    """The server's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self._reader = connection, tw.FrameReader(FROM_CLIENT, 65_536)

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def next(self) -> tuple[int, Any]:
        while (received := self._reader.next()) is None:
            if not (data := self.socket.recv(1 << 16)):
                raise EOFError("the client is gone")
            self._reader.feed(data)
        return received

    def hello(self) -> dict[str, Any]:
        """Reads AUTH and SUBSCRIBE and accepts AUTH; the SUBSCRIBE."""
        kind, auth = self.next()
        assert (kind, auth) == (tw.AUTH, {"username": "demo", "password": "pässwörd"}), (kind, auth)
        kind, subscribe = self.next()
        assert kind == tw.SUBSCRIBE, kind
        self.send(HEARTBEAT)
        return subscribe

    def wait_for_end(self) -> type[BaseException]:
        """How the client ended the connection: EOFError, or ConnectionResetError."""
        while True:
            try:
                self.next()
            except (EOFError, ConnectionResetError) as end:
                return type(end)


Script = Callable[[Peer], None]


class FakeServer:
    """Serves one connection per script, each in its turn, and hands on what a script raises."""

    def __init__(self, *scripts: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._scripts, self._failures = scripts, queue.SimpleQueue[BaseException]()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        try:
            for script in self._scripts:
                connection, _ = self._listener.accept()
                with connection:
                    script(Peer(connection))
        except BaseException as failure:  # for the test's thread
            self._failures.put(failure)
        finally:
            self._listener.close()

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), "the server hangs"
        if kind is None and not self._failures.empty():
            raise self._failures.get()


@contextlib.contextmanager
def nobody() -> Iterator[Any]:
    """A server that accepts no connections, at an address that nobody else can have meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield mock.Mock(address=bound.getsockname())


def sends(*frames: bytes) -> Script:
    """Accepts the client, sends the frames, and waits for the client to end the connection."""

    def script(peer: Peer) -> None:
        peer.hello()
        peer.send(*frames)
        peer.wait_for_end()

    return script


def client(*servers: FakeServer, **options: Any) -> tw.Client:
    addresses = [server.address for server in servers]
    options = {"mode": tw.Mode.SECOND, "backoff": (0.001, 0.001)} | options
    return tw.Client(addresses, "demo", "pässwörd", **options)


def take(subscription: tw.Client, last: int) -> list[tw.Batch]:
    """The batches up to the one that ends with `last`."""
    taken = []
    with contextlib.closing(subscription):
        for received in subscription.batches(time.monotonic() + PATIENCE):
            taken.append(received)
            if received.last_sequence == last:
                return taken
    raise AssertionError(f"nothing ends with {last}; the last one is {taken[-1:]}; {subscription.failure}")


def opens(batches: Sequence[tw.Batch]) -> list[int]:
    return [tick.open for received in batches for tick in received.ticks]


class VectorsTest(unittest.TestCase):
    def read(self, file: str, chunk: int = 1 << 20) -> Any:
        reader = tw.FrameReader(FROM_BOTH, MANIFEST["max_msg_size"])
        data = (VECTORS / file).read_bytes()
        for at in range(0, len(data), chunk):
            self.assertIsNone(reader.next())
            reader.feed(data[at : at + chunk])
        received = reader.next()
        self.assertIsNotNone(received)
        self.assertIsNone(reader.next())
        return received

    def test_every_file_is_listed(self) -> None:
        listed = {vector["file"] for vector in MANIFEST["valid"] + MANIFEST["invalid"]}
        there = {path.relative_to(VECTORS).as_posix() for path in VECTORS.glob("*/*")}
        self.assertEqual(listed, there)

    def test_valid_ones_decode_to_their_message(self) -> None:
        for vector in MANIFEST["valid"]:
            for chunk in (1, 7, 1 << 20):
                with self.subTest(vector["file"], chunk=chunk):
                    kind, received = self.read(vector["file"], chunk)
                    self.assertEqual(kind, vector["type"])
                    self.assertEqual(plain(received), numbers(vector["message"]))

    def test_valid_ones_encode_to_their_bytes(self) -> None:
        for vector in MANIFEST["valid"]:
            with self.subTest(vector["file"]):
                data, values = (VECTORS / vector["file"]).read_bytes(), numbers(vector["message"])
                self.assertEqual(tw.frame(vector["type"], payload_of(vector["type"], values)), data)

    def test_invalid_ones_get_their_code(self) -> None:
        for vector in MANIFEST["invalid"]:
            with self.subTest(vector["file"]), self.assertRaises(tw.ProtocolError) as raised:
                self.read(vector["file"])
            self.assertEqual(raised.exception.code, vector["code"])
            self.assertEqual(raised.exception.code.name, vector["error"])
            self.assertIn(vector["error"], str(raised.exception))

    def test_a_part_of_a_valid_one_is_not_an_error(self) -> None:
        for vector in MANIFEST["valid"]:
            data = (VECTORS / vector["file"]).read_bytes()
            for length in range(len(data)):
                with self.subTest(vector["file"], length=length):
                    reader = tw.FrameReader(FROM_BOTH)
                    reader.feed(data[:length])
                    self.assertIsNone(reader.next())

    def test_all_of_them_in_one_piece(self) -> None:
        reader = tw.FrameReader(FROM_BOTH)
        reader.feed(b"".join((VECTORS / vector["file"]).read_bytes() for vector in MANIFEST["valid"]))
        for vector in MANIFEST["valid"]:
            self.assertEqual(reader.next()[0], vector["type"])
        self.assertIsNone(reader.next())

    def test_a_server_may_not_send_what_a_client_sends(self) -> None:
        for file in ("valid/auth.bin", "valid/subscribe_all.bin"):
            reader = tw.FrameReader()
            reader.feed((VECTORS / file).read_bytes())
            with self.subTest(file), self.assertRaises(tw.ProtocolError) as raised:
                reader.next()
            self.assertEqual(raised.exception.code, tw.Code.UNEXPECTED_TYPE)


def plain(received: Any) -> Any:
    """A decoded message as the manifest has it."""
    if isinstance(received, dict):
        resume = received.get("resume")
        return received | {"resume": resume._asdict()} if resume else received
    return asdict(received)


def numbers(value: Any, name: str = "") -> Any:
    """The manifest writes integers of 64 bits as strings."""
    if isinstance(value, dict):
        return {name: numbers(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item, name) for item in value]
    return int(value) if isinstance(value, str) and name in NUMBERS else value


def payload_of(kind: int, values: dict[str, Any]) -> bytes:
    if kind == tw.AUTH:
        return tw.auth_payload(values["username"], values["password"])
    if kind == tw.SUBSCRIBE:
        resume = values["resume"] and tw.Resume(**values["resume"])
        return tw.subscribe_payload(values["mode"], resume, values["symbols"])
    if kind == tw.DATA_BATCH:
        values = values | {"ticks": [tw.Tick(**tick) for tick in values["ticks"]]}
    return message({tw.HEARTBEAT: {}, tw.DATA_BATCH: tw.BATCH, tw.ERROR: tw.SERVER_ERROR}[kind], values)


class ProtobufTest(unittest.TestCase):
    def test_crc32c(self) -> None:
        self.assertEqual(tw.crc32c(b"123456789"), 0xE306_9283)
        self.assertEqual(tw.crc32c(b""), 0)

    def test_the_ends_of_the_integers(self) -> None:
        for raw, value in [
            (b"\xff" * 9 + b"\x01", -1),
            (b"\x80" * 9 + b"\x01", -(2**63)),
            (b"\xff" * 8 + b"\x7f", 2**63 - 1),
            (b"\x80\x00", 0),
        ]:
            self.assertEqual(dict(tw.decode(tw.TICK, b"\x18" + raw)), {"open": value})
        self.assertEqual(dict(tw.decode(tw.TICK, b"\x38" + b"\xff" * 9 + b"\x01")), {"volume": 2**64 - 1})
        self.assertEqual(dict(tw.decode(tw.TICK, b"\x11" + b"\xff" * 8)), {"time_unix_nano": 2**64 - 1})

    def test_unknown_fields_are_skipped(self) -> None:
        unknown = b"\xf8\x01\xac\x02" + b"\xf9\x01" + bytes(8) + b"\xfa\x01\x03abc" + b"\xfd\x01" + bytes(4)
        payload = unknown + tw.field(1, 400) + unknown + tw.field(2, b"bye") + unknown
        self.assertEqual(tw.FROM_SERVER[tw.ERROR](payload), tw.ServerError(400, "bye", 0))
        tw.FROM_SERVER[tw.HEARTBEAT](unknown)

    def test_what_is_malformed(self) -> None:
        tick = tw.TICK
        for name, schema, payload in [
            ("a key cut short", tick, b"\x80"),
            ("a key without a value", tick, b"\x18"),
            ("a varint cut short", tick, b"\x18\xff"),
            ("a varint of 11 bytes", tick, b"\x18" + b"\x80" * 10 + b"\x00"),
            ("a varint of 65 bits", tick, b"\x18" + b"\xff" * 9 + b"\x02"),
            ("a fixed64 cut short", tick, b"\x11" + bytes(7)),
            ("a string cut short", tick, b"\x0a\x05abcd"),
            ("a length of 64 bits", tick, b"\x0a" + b"\xff" * 9 + b"\x01"),
            ("a symbol of 33 bytes", tick, tw.field(1, b"A" * 33)),
            ("a symbol that is not UTF-8", tick, tw.field(1, b"\xff")),
            ("another wire type", tick, tw.field(1, 1)),
            ("field number 0", tick, b"\x00\x01"),
            ("a group", tick, b"\x7b\x7c"),
            ("wire type 7", tick, b"\x7f"),
            ("a malformed tick", tw.BATCH, tw.field(2, b"\x0a")),
        ]:
            with self.subTest(name), self.assertRaises(tw.ProtocolError) as raised:
                list(tw.decode(schema, payload))
            self.assertEqual(raised.exception.code, tw.Code.MALFORMED)

    def test_what_a_client_may_not_send(self) -> None:
        for name, options in [
            ("username", {"user": "u" * 256}),
            ("password", {"password": "ö" * 513}),
            ("symbols", {"symbols": ["A"] * 10_001}),
            ("position", {"resume": tw.Resume(0, -1)}),
        ]:
            arguments = {"addresses": [], "user": "u", "password": "p", "mode": tw.Mode.TICK} | options
            with self.subTest(name), self.assertRaises(ValueError):
                tw.Client(**arguments)


class ClientTest(unittest.TestCase):
    def refused(self, *frames: bytes, kind: type[Exception] = tw.ProtocolError, **options: Any) -> str:
        """What the client says to a server that sends these frames after the answer to AUTH."""
        with FakeServer(sends(*frames)) as server, self.assertRaises(kind) as raised:
            take(client(server, **options), -1)
        self.assertIs(type(raised.exception), kind)
        return str(raised.exception.args[0])

    def test_one_byte_at_a_time(self) -> None:
        def script(peer: Peer) -> None:
            peer.hello()
            for byte in opening(101) + full(101, 104) + HEARTBEAT + full(105, 105):
                peer.send(bytes([byte]))
            peer.wait_for_end()

        with FakeServer(script) as server:
            subscription = client(server)
            self.assertEqual(opens(take(subscription, 105)), [-n for n in range(101, 106)])
        self.assertEqual(subscription.stats, tw.Stats(5, 3, 101, 105, EPOCH, 0, 2))

    def test_many_frames_in_one_piece(self) -> None:
        frames = [full(n, n + 2) + batch(n + 3, n + 9) for n in range(1, 1001, 10)]
        with FakeServer(sends(opening(1), *frames)) as server:
            subscription = client(server)
            received = take(subscription, 1000)
        self.assertEqual(opens(received), [-n for ten in range(1, 1001, 10) for n in range(ten, ten + 3)])
        self.assertEqual(subscription.stats, tw.Stats(300, 201, 1, 1000, EPOCH, 0, 1))

    def test_the_integers_of_a_tick(self) -> None:
        tick = tw.Tick("X" * 32, 2**64 - 1, -(2**63), 2**63 - 1, -1, 0, 2**64 - 1, 2**64 - 1)
        with FakeServer(sends(opening(1), batch(1, 9, [tick]))) as server:
            self.assertEqual(take(client(server), 9)[-1], tw.Batch(1, [tick], EPOCH, 1, 9))

    def test_a_gap(self) -> None:
        said = self.refused(opening(11), full(11, 20), full(22, 30), kind=tw.ContinuityError)
        self.assertEqual(said, f"gap: batch 22..=30 of epoch {EPOCH} does not start at 21")
        self.refused(opening(11), full(12, 20), kind=tw.ContinuityError)

    def test_a_repeat(self) -> None:
        said = self.refused(opening(11), full(11, 20), full(20, 30), kind=tw.ContinuityError)
        self.assertEqual(said, f"repeat: batch 20..=30 of epoch {EPOCH} does not start at 21")
        self.refused(opening(11), full(11, 20), full(11, 20), kind=tw.ContinuityError)

    def test_another_epoch(self) -> None:
        said = self.refused(opening(11), full(11, 20, epoch=7), kind=tw.ContinuityError)
        self.assertEqual(said, f"batch 11..=20 of epoch 7 comes after one of epoch {EPOCH}")

    def test_a_bad_checksum(self) -> None:
        spoilt = bytearray(full(11, 20))
        spoilt[-1] ^= 1
        self.assertIn("BAD_CHECKSUM", self.refused(opening(11), bytes(spoilt)))

    def test_other_frames_that_are_wrong(self) -> None:
        self.assertIn("BAD_MAGIC", self.refused(opening(11), b"HTTP/1.1"))
        self.assertIn("BAD_VERSION", self.refused(b"TW\x02\x03" + bytes(8)))
        self.assertIn("UNEXPECTED_TYPE", self.refused(tw.frame(tw.AUTH)))
        self.assertIn("UNEXPECTED_TYPE", self.refused(tw.frame(0)))
        self.assertIn("FRAME_TOO_LARGE", self.refused(b"TW\x01\x04\x01\x00\x00\x01"))
        self.assertIn("MALFORMED", self.refused(tw.frame(tw.DATA_BATCH, b"\x12\x7f")))

    def test_batches_that_cannot_be(self) -> None:
        tick = tw.Tick("BTCUSDT")
        self.assertIn("not an empty range", self.refused(full(11, 20)))
        self.assertIn("cannot be", self.refused(opening(11, epoch=0)))
        self.assertIn("cannot be", self.refused(tw.frame(tw.DATA_BATCH, tw.field(1, 1) + tw.field(3, EPOCH))))
        self.assertIn("cannot be", self.refused(opening(11), batch(11, 9)))
        self.assertIn("cannot be", self.refused(batch(11, 10, [tick])))
        self.assertIn("cannot be", self.refused(opening(11), batch(11, 11, [tick, tick])))
        self.assertIn("schema_version 2", self.refused(batch(11, 10, schema=2)))
        self.assertIn("not subscribed", self.refused(opening(1), full(1, 1), symbols=["ETHUSDT"]))

    def test_a_batch_before_the_answer_to_auth(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(opening(11))
            peer.wait_for_end()

        with FakeServer(script) as server, self.assertRaisesRegex(tw.ProtocolError, "before AUTH"):
            take(client(server), -1)

    def test_errors_of_the_server(self) -> None:
        said = self.refused(opening(1), error(202, "too old"), opening(9), kind=tw.Refused)
        self.assertEqual(said, "the server says RESUME_UNAVAILABLE (202), retry after 0 ms: too old")
        self.assertIn("RATE_LIMITED (103), retry after 7", self.refused(error(103, "", 7), kind=tw.Refused))
        self.assertIn("an unknown code (299)", self.refused(error(299), kind=tw.Refused))
        self.assertIn("an unknown code (-1)", self.refused(error(-1), kind=tw.Refused))

    def test_what_is_asked_for(self) -> None:
        asked = queue.SimpleQueue[dict[str, Any]]()

        def script(peer: Peer) -> None:
            asked.put(peer.hello())
            peer.send(opening(1))
            peer.wait_for_end()

        with FakeServer(script, script) as server:
            take(client(server), 0)
            take(client(server, mode=tw.Mode.TICK, symbols=["A", "B"], resume=tw.Resume(0, 0)), 0)
        self.assertEqual(asked.get(timeout=PATIENCE), {"mode": 1, "resume": None, "symbols": []})
        wanted = {"mode": 3, "resume": tw.Resume(0, 0), "symbols": ["A", "B"]}
        self.assertEqual(asked.get(timeout=PATIENCE), wanted)

    def test_a_large_subscription_waits_for_the_answer_to_auth(self) -> None:
        symbols = [f"SYMBOL{n}" for n in range(1000)]

        def script(peer: Peer) -> None:
            peer.next()
            peer.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                raise AssertionError(f"too early: {peer.next()}")
            peer.socket.settimeout(PATIENCE)
            peer.send(HEARTBEAT)
            kind, asked = peer.next()
            assert (kind, asked["symbols"]) == (tw.SUBSCRIBE, symbols)
            peer.send(opening(1))
            peer.wait_for_end()

        with FakeServer(script) as server:
            take(client(server, symbols=symbols), 0)

    def test_after_a_position(self) -> None:
        position = tw.Resume(0, 500)
        with FakeServer(sends(opening(501), full(501, 502))) as server:
            self.assertEqual(opens(take(client(server, resume=position), 502)), [-501, -502])
        said = self.refused(opening(503), kind=tw.ContinuityError, resume=position)
        self.assertIn("gap", said)
        said = self.refused(opening(500), kind=tw.ContinuityError, resume=position)
        self.assertIn("repeat", said)

    def resumed(self, *frames: bytes, first: Sequence[bytes] = ()) -> tuple[tw.Client, list[tw.Batch], Any]:
        """A client that loses its connection after `first`, and resumes at a second server up to 30."""
        asked = queue.SimpleQueue[dict[str, Any]]()

        def loses(peer: Peer) -> None:
            peer.hello()
            peer.send(*first)

        def resumes(peer: Peer) -> None:
            asked.put(peer.hello())
            peer.send(*frames)
            peer.wait_for_end()

        with FakeServer(loses) as one, FakeServer(resumes) as other:
            subscription = client(one, other)
            received = take(subscription, 30)
        return subscription, received, asked.get(timeout=PATIENCE)["resume"]

    def test_resuming(self) -> None:
        first = [opening(11), full(11, 20), full(21, 25)[:-1]]  # the last one is lost on the way
        subscription, received, asked = self.resumed(opening(21), full(21, 30), first=first)
        self.assertEqual(asked, tw.Resume(EPOCH, 20))
        self.assertEqual(opens(received), [-n for n in range(11, 31)])
        self.assertEqual(subscription.stats, tw.Stats(20, 4, 11, 30, EPOCH, 1, 2))

    def test_resuming_after_an_empty_range_only(self) -> None:
        _, _, asked = self.resumed(opening(11), batch(11, 30), first=[opening(11)])
        self.assertEqual(asked, tw.Resume(EPOCH, 10))

    def test_losing_the_connection_before_the_first_range(self) -> None:
        _, _, asked = self.resumed(opening(11), batch(11, 30))
        self.assertIsNone(asked)

    def test_a_resumption_that_starts_elsewhere(self) -> None:
        first = [opening(11), full(11, 20)]
        answers = {"gap": opening(22), "repeat": opening(20), "epoch 7": opening(21, epoch=7)}
        for name, answer in answers.items():
            with self.subTest(name), self.assertRaisesRegex(tw.ContinuityError, name):
                self.resumed(answer, first=first)

    def test_cuts(self) -> None:
        ends: dict[tw.Resume | None, type[BaseException]] = {}

        def script(peer: Peer) -> None:
            resume = peer.hello()["resume"]
            first = resume.after_sequence + 1 if resume else 1
            frames = [full(n, n) if n % 2 else batch(n, n) for n in range(first, first + 8)]
            peer.send(opening(first), *frames)
            ends[resume] = peer.wait_for_end()

        with FakeServer(script, script) as one, FakeServer(script) as other:
            subscription = client(one, other, cut_every=2, backoff=(PATIENCE, PATIENCE))
            received = take(subscription, 8)
        self.assertEqual(opens(received), [-1, -3, -5, -7])
        self.assertEqual(ends.keys(), {None, tw.Resume(EPOCH, 3), tw.Resume(EPOCH, 7)})
        self.assertEqual({ends[None], ends[tw.Resume(EPOCH, 3)]}, {ConnectionResetError})
        self.assertEqual(subscription.stats.reconnects, 2)

    def test_a_draining_server(self) -> None:
        moved, ended = threading.Event(), threading.Event()

        def drains(peer: Peer) -> None:
            peer.hello()
            peer.send(opening(11), error(400, "bye", 1), full(11, 15))
            self.assertTrue(moved.wait(PATIENCE))
            peer.wait_for_end()
            ended.set()

        def takes_over(peer: Peer) -> None:
            after = peer.hello()["resume"].after_sequence
            self.assertIn(after, (10, 15))
            moved.set()
            self.assertTrue(ended.wait(PATIENCE))  # the old connection does not wait for ticks of the new one
            peer.send(opening(after + 1), full(after + 1, 30))
            peer.wait_for_end()

        with FakeServer(drains) as one, FakeServer(takes_over) as other:
            subscription = client(one, other, backoff=(PATIENCE, PATIENCE))
            self.assertEqual(opens(take(subscription, 30)), [-n for n in range(11, 31)])
        self.assertEqual(subscription.stats.reconnects, 1)

    def test_a_draining_server_is_kept_while_there_is_no_other(self) -> None:
        def drains(peer: Peer) -> None:
            peer.hello()
            peer.send(opening(11), error(400, "bye", 0), full(11, 30))
            peer.wait_for_end()

        with FakeServer(drains) as server, nobody() as other:
            subscription = client(server, other, backoff=(PATIENCE, PATIENCE))
            take(subscription, 30)
        self.assertEqual(subscription.stats.reconnects, 0)

    def test_heartbeats(self) -> None:
        def script(peer: Peer) -> None:
            peer.hello()
            peer.send(opening(1))
            for _ in range(3):
                self.assertEqual(peer.next(), (tw.HEARTBEAT, {}))
            peer.send(batch(1, 1))
            peer.wait_for_end()

        with FakeServer(script) as server:
            take(client(server, heartbeat_every=0.01), 1)

    def test_a_deadline(self) -> None:
        with FakeServer(sends(opening(1))) as server, contextlib.closing(client(server)) as subscription:
            started = time.monotonic()
            self.assertEqual(len(list(subscription.batches(started + 0.2))), 1)
            self.assertLess(time.monotonic() - started, PATIENCE)


class TlsTest(unittest.TestCase):
    def test_what_is_said_about_its_failures(self) -> None:
        for error, said in [
            (distrust("Hostname mismatch"), "is not accepted: Hostname mismatch (--server-name?)"),
            (distrust("unable to get local issuer"), "not accepted: unable to get local issuer (--ca?)"),
            (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "a client's certificate (--cert and --key)"),
            (alert("SSLV3_ALERT_CERTIFICATE_EXPIRED"), "TLS: the server refuses: certificate expired"),
            (alert("TLSV1_ALERT_NO_APPLICATION_PROTOCOL"), "the server refuses: no application protocol"),
            (alert("WRONG_CIPHER_RETURNED"), "TLS: wrong cipher returned"),
            (ssl.SSLError("something"), "something"),
        ]:
            with self.subTest(said):
                self.assertIn(said, str(tw.TlsFailed(error)))

    def test_only_what_would_fail_again_is_given_up(self) -> None:
        for error, kind in [
            (alert("TLSV1_ALERT_UNKNOWN_CA"), tw.TlsFailed),
            (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), tw.ConnectionLost),
            (ConnectionResetError(), tw.ConnectionLost),
            (TimeoutError(), tw.ConnectionLost),
        ]:
            with self.subTest(error):
                self.assertIs(type(tw.failed(error, "it broke")), kind)


def distrust(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = message
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "an alert")
    error.reason = reason
    return error


class CommandLineTest(unittest.TestCase):
    def command(self, *scripts: Script, options: str) -> tuple[int, str, str]:
        with FakeServer(*scripts) as server:
            return self.command_at(server, options)

    def command_at(self, server: Any, options: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {"STREAM_PASS": "pässwörd"}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            address = "{}:{}".format(*server.address)
            status = tw.main(["--address", address, "--user", "demo", "--mode", "second", *options.split()])
        return status, out.getvalue(), err.getvalue()

    def test_json(self) -> None:
        serves = sends(opening(8), full(8, 9), full(10, 12))
        status, out, err = self.command(serves, options="--after 7 --ticks 4 --json")
        self.assertEqual(status, 0)
        ticks = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([tick["open"] for tick in ticks], [-8, -9, -10, -11])
        self.assertEqual(ticks[0], asdict(tw.Tick("BTCUSDT", 10**18 + 8, -8, 1, -8, 0, 2**64 - 8, 1)))
        self.assertEqual(json.loads(err), {
            "ticks": 4, "batches": 3, "first_sequence": 8, "last_sequence": 12, "epoch": EPOCH,
            "reconnects": 0, "heartbeats": 1,
        })  # fmt: skip

    def test_readable(self) -> None:
        tick = tw.Tick("BTCUSDT", 1610064001000000002, 39432480000000, 10**9, -1, -1500000000, 9326000, 4)
        status, out, _ = self.command(sends(opening(1), batch(1, 1, [tick])), options="--seconds 5 --ticks 1")
        self.assertEqual((status, out), (0, (
            "2021-01-08T00:00:01.000000002Z BTCUSDT open 39432.48 high 1 low -0.000000001 close -1.5 "
            "volume 0.009326 trades 4\n"
        )))  # fmt: skip

    def test_seconds(self) -> None:
        status, out, err = self.command(sends(opening(1)), options="--seconds 0.2")
        self.assertEqual((status, out, json.loads(err)["first_sequence"]), (0, "", 1))

    def test_failures(self) -> None:
        for name, frames, said in [
            ("gap", [opening(1), full(2, 3)], "gap: batch 2..=3"),
            ("error", [error(101, "no\nsuch user")], "AUTH_FAILED (101), retry after 0 ms: no such user"),
            ("resume", [error(202, "gone"), opening(9)], "RESUME_UNAVAILABLE"),
        ]:
            with self.subTest(name):
                status, _, err = self.command(sends(*frames), options="--seconds 5 --after 0")
                self.assertEqual((status, err.count("\n")), (1, 1))
                self.assertIn(said, err)

    def test_nobody_there(self) -> None:
        with nobody() as server:
            status, out, err = self.command_at(server, "--seconds 0.05")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))
        self.assertIn("cannot connect", err)

    def test_tls_and_plain_tcp_do_not_mix(self) -> None:
        def plain(peer: Peer) -> None:
            peer.send(error(1, "this is another protocol"))
            with contextlib.suppress(ConnectionResetError):
                while peer.socket.recv(1 << 16):
                    pass

        def tls(peer: Peer) -> None:
            peer.next()
            peer.send(b"\x15\x03\x03\x00\x02\x02\x0a")  # what a server says that expected a handshake
            peer.wait_for_end()

        for name, script, options, said in [
            ("plain", plain, "--seconds 5 --tls", "TLS: the server does not speak TLS"),
            ("tls", tls, "--seconds 5", "does the server speak TLS (--tls)?"),
        ]:
            with self.subTest(name):
                status, _, err = self.command(script, options=options)
                self.assertEqual((status, err.count("\n")), (1, 1))
                self.assertIn(said, err)

    def test_files_of_tls(self) -> None:
        for options, said in [
            ("--ca /nowhere", "can be read from /nowhere"),
            (f"--ca {__file__}", "test_client.py"),
            ("--cert /nowhere --key /there", "/nowhere and /there are no certificate and its key"),
            (f"--cert {__file__} --key {__file__}", "no certificate and its key"),
        ]:
            with self.subTest(options), nobody() as server:
                status, _, err = self.command_at(server, f"--seconds 5 --tls {options}")
                self.assertEqual((status, err.count("\n")), (1, 1))
                self.assertIn(said, err)

    def test_arguments(self) -> None:
        tls = ("--ca a", "--cert c --key k", "--server-name n", "--tls --cert c", "--tls --key k")
        for options in (
            "", "--ticks 0", "--seconds 1 --cut-every -1", "--ticks 1 --mode hour",
            *(f"--ticks 1 {without}" for without in tls),
        ):  # fmt: skip
            with self.subTest(options), nobody() as server, self.assertRaises(SystemExit) as raised:
                self.command_at(server, options)
            self.assertEqual(raised.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
