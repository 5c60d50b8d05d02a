"""A Tickwire client, written from docs/PROTOCOL.md alone. Python 3.11, standard library only.

    STREAM_PASS=... python3 tickwire_client.py --address HOST:PORT --user U --mode second --ticks 100
    STREAM_PASS=... python3 tickwire_client.py --address HOST:PORT --tls --ca ca.crt --user U ...

As a module: `Client.batches()` yields every DATA_BATCH, the empty ones too, each checked against the one
before it, across lost connections, cuts and draining servers. It raises `ContinuityError` for a gap or a
repeat, `ProtocolError` for anything else that a server must not send, `Refused` for an ERROR other than
DRAINING, and `TlsFailed` where client and server do not come to terms about TLS.
"""

import argparse
import contextlib
import json
import math
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, NamedTuple

MAX_PAYLOAD, MAX_PAYLOAD_BEFORE_AUTH = 16 << 20, 4096
CONNECT_TIMEOUT, SEND_TIMEOUT, ANSWER_TIMEOUT, SILENCE_TIMEOUT = 2.0, 1.5, 10.0, 45.0
ALPN = "tickwire/1"
UNIT = 10**9  # of prices, of quantities, and nanoseconds of a second
AUTH, SUBSCRIBE, HEARTBEAT, DATA_BATCH, ERROR = range(1, 6)
Mode = IntEnum("Mode", ["SECOND", "MINUTE", "TICK"])
Code = IntEnum("Code", {
    "BAD_MAGIC": 1, "BAD_VERSION": 2, "BAD_CHECKSUM": 3, "FRAME_TOO_LARGE": 4, "MALFORMED": 5,
    "UNEXPECTED_TYPE": 6, "AUTH_REQUIRED": 100, "AUTH_FAILED": 101, "AUTH_TIMEOUT": 102, "RATE_LIMITED": 103,
    "BAD_MODE": 200, "UNKNOWN_SYMBOL": 201, "RESUME_UNAVAILABLE": 202, "SLOW_CONSUMER": 300,
    "HEARTBEAT_TIMEOUT": 301, "DRAINING": 400, "OVERLOADED": 401, "CONNECTION_LIMIT": 402, "INTERNAL": 403,
})  # fmt: skip


class ConnectionLost(Exception):
    """The connection ended or could not be made: the client resumes by itself."""


class Refused(Exception):
    """The server sent an ERROR, which is the second argument."""


class TlsFailed(Exception):
    """TLS was refused, by the client or by the server. It would be so again."""

    def __init__(self, error: ssl.SSLError) -> None:
        reason = getattr(error, "reason", None) or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = " (--server-name?)" if "mismatch" in error.verify_message else " (--ca?)"
            text = f"the server's certificate is not accepted: {error.verify_message}{hint}"
        elif reason == "WRONG_VERSION_NUMBER":
            text = "the server does not speak TLS"
        elif reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
            text = "the server demands a client's certificate (--cert and --key)"
        elif (before_and_alert := reason.partition("ALERT_"))[1]:
            text = f"the server refuses: {before_and_alert[2].lower().replace('_', ' ')}"
        else:
            text = reason.lower().replace("_", " ")
        super().__init__(f"TLS: {text}")


class ProtocolError(Exception):
    """What came is not what the protocol allows; `code` is the ERROR that names it, if one does."""

    def __init__(self, text: str, code: Code | None = None) -> None:
        super().__init__(f"{code.name}: {text}" if code else text)
        self.code = code


class ContinuityError(ProtocolError):
    """A range does not start where the last one ended, or is of another epoch."""


def malformed(text: str) -> ProtocolError:
    return ProtocolError(text, Code.MALFORMED)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            raise malformed("a varint is cut short")
        value, at = value | (data[at] & 0x7F) << shift, at + 1
        if data[at - 1] < 0x80 and value < 1 << 64:
            return value, at
    raise malformed("a varint is over 64 bits")


Schema = Mapping[int, tuple[str, int, Callable[[Any], Any]]]  # by number: name, wire type, conversion


def decode(schema: Schema, data: bytes) -> Iterator[tuple[str, Any]]:
    """Names and values of the fields that are there; those that the schema does not have are skipped."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29 or wire not in (0, 1, 2, 5):
            raise malformed(f"field {number} has wire type {wire}")
        value: Any
        value, at = (8, at) if wire == 1 else (4, at) if wire == 5 else read_varint(data, at)
        if wire != 0:
            at, value = at + value, data[at : at + value]
            if at > len(data):
                raise malformed(f"field {number} is cut short")
        if number in schema:
            name, expected, convert = schema[number]
            if wire != expected:
                raise malformed(f"{name} has wire type {wire}, not {expected}")
            yield name, convert(value)


def int64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def string(value: bytes, limit: float = math.inf) -> str:
    if len(value) > limit:
        raise malformed(f"a string has {len(value)} bytes, over {limit}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise malformed("a string is not UTF-8") from None


def field(number: int, value: int | bytes) -> bytes:
    """A varint, or bytes with their length."""
    wire, left, rest = (0, value, b"") if isinstance(value, int) else (2, len(value), value)
    out = bytearray([number << 3 | wire])
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes(out) + bytes([left]) + rest


class Resume(NamedTuple):
    epoch: int = 0
    after_sequence: int = 0


def auth_payload(username: str, password: str) -> bytes:
    name, secret = username.encode(), password.encode()
    if len(name) > 255 or len(secret) > 1024:
        raise ValueError("a username has at most 255 bytes, a password at most 1,024")
    return (field(1, name) if name else b"") + (field(2, secret) if secret else b"")


def subscribe_payload(mode: int, resume: Resume | None, symbols: Sequence[str]) -> bytes:
    if len(symbols) > 10_000 or any(not 0 <= number < 1 << 64 for number in resume or ()):
        raise ValueError("over 10,000 symbols, or a position to resume at that is not of 64 bits")
    payload = field(1, mode)
    if resume is not None:  # even if it is empty
        payload += field(2, b"".join(field(number, value) for number, value in enumerate(resume, 1) if value))
    return payload + b"".join(field(3, symbol.encode()) for symbol in symbols)


@dataclass(frozen=True, slots=True)
class Tick:
    symbol: str = ""
    time_unix_nano: int = 0
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0
    trades: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    schema_version: int = 0
    ticks: Sequence[Tick] = ()
    epoch: int = 0
    first_sequence: int = 0
    last_sequence: int = 0


@dataclass(frozen=True, slots=True)
class ServerError:
    code: int = 0
    message: str = ""
    retry_after_ms: int = 0


TICK: Schema = {
    1: ("symbol", 2, lambda value: string(value, 32)),
    2: ("time_unix_nano", 1, lambda value: int.from_bytes(value, "little")),
    3: ("open", 0, int64), 4: ("high", 0, int64), 5: ("low", 0, int64), 6: ("close", 0, int64),
    7: ("volume", 0, int), 8: ("trades", 0, int),
}  # fmt: skip
BATCH: Schema = {
    1: ("schema_version", 0, int), 2: ("ticks", 2, lambda value: Tick(**dict(decode(TICK, value)))),
    3: ("epoch", 0, int), 4: ("first_sequence", 0, int), 5: ("last_sequence", 0, int),
}  # fmt: skip
SERVER_ERROR: Schema = {1: ("code", 0, int64), 2: ("message", 2, string), 3: ("retry_after_ms", 0, int)}


def decode_batch(payload: bytes) -> Batch:
    fields = list(decode(BATCH, payload))
    return Batch(**dict(fields) | {"ticks": [value for name, value in fields if name == "ticks"]})


Decoders = Mapping[int, Callable[[bytes], Any]]
FROM_SERVER: Decoders = {
    HEARTBEAT: lambda payload: dict(decode({}, payload)),
    DATA_BATCH: decode_batch,
    ERROR: lambda payload: ServerError(**dict(decode(SERVER_ERROR, payload))),
}
HEADER, TRAILER = struct.Struct(">2sBBI"), struct.Struct(">I")
CRC_TABLE = list(range(256))
for _ in range(8):
    CRC_TABLE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CRC_TABLE]


def crc32c(data: bytes) -> int:
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFF_FFFF


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(b"TW", 1, kind, len(payload)) + payload + TRAILER.pack(crc32c(payload))


class FrameReader:
    """Bytes in, in whatever pieces they come; (type, message) out. Of no further use after an error."""

    def __init__(self, decoders: Decoders = FROM_SERVER, max_payload: int = MAX_PAYLOAD) -> None:
        self._decoders, self._max_payload, self._buffer = decoders, max_payload, bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> tuple[int, Any] | None:
        magic = self._buffer[:2]
        if len(magic) == 2 and magic != b"TW":
            hint = ": does the server speak TLS (--tls)?" if magic == b"\x15\x03" else ""
            raise ProtocolError(f"a frame begins with {magic.hex()}, not 5457{hint}", Code.BAD_MAGIC)
        if len(self._buffer) < HEADER.size:
            return None
        _, version, kind, length = HEADER.unpack_from(self._buffer)
        if version != 1:
            raise ProtocolError(f"a frame has version {version}", Code.BAD_VERSION)
        if kind not in self._decoders:
            raise ProtocolError(f"a frame has type {kind:#04x}", Code.UNEXPECTED_TYPE)
        if length > self._max_payload:
            raise ProtocolError(f"{length} bytes of payload, over {self._max_payload}", Code.FRAME_TOO_LARGE)
        end = HEADER.size + length
        if len(self._buffer) < end + TRAILER.size:
            return None
        payload, (announced,) = bytes(self._buffer[HEADER.size : end]), TRAILER.unpack_from(self._buffer, end)
        del self._buffer[: end + TRAILER.size]
        if (crc := crc32c(payload)) != announced:
            raise ProtocolError(f"a CRC32C is {crc:08x}, not {announced:08x}", Code.BAD_CHECKSUM)
        return kind, self._decoders[kind](payload)


class Tls:
    """How to make a connection a TLS one. `ca`: whom to trust, instead of those whom the system trusts.

    `server_name` is looked for in the server's certificate instead of the host that is connected to.
    """

    def __init__(
        self, ca: str | None = None, cert: str | None = None, key: str | None = None,
        server_name: str | None = None,
    ) -> None:  # fmt: skip
        try:
            self._context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise ValueError(f"no certificates of authorities can be read from {ca}: {error}") from None
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.set_alpn_protocols([ALPN])
        self._server_name = server_name
        if cert is not None:
            try:
                self._context.load_cert_chain(cert, key, password="")  # nobody is asked for one
            except OSError as error:
                raise ValueError(f"{cert} and {key} are no certificate and its key: {error}") from None

    def wrap(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Makes the handshake, within the socket's timeout."""
        return self._context.wrap_socket(connection, server_hostname=self._server_name or host)


def failed(error: OSError, what: str) -> ConnectionLost | TlsFailed:
    """What an error of the socket means for the client: whether it is of any use to come again."""
    ends = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ends):
        return TlsFailed(error)
    return ConnectionLost(f"{what}: {error}")


class Link:
    """One connection. All its times are of `time.monotonic()`."""

    def __init__(self, address: tuple[str, int], deadline: float, tls: Tls | None) -> None:
        left = max(0.01, deadline - time.monotonic())
        connection = None
        try:
            connection = socket.create_connection(address, min(CONNECT_TIMEOUT, left))
            self._socket = tls.wrap(connection, address[0]) if tls else connection
        except OSError as error:
            if connection:
                connection.close()
            raise failed(error, f"cannot connect to {address[0]}:{address[1]}") from None
        self._reader, self.heard_at = FrameReader(), time.monotonic()
        self.heartbeat_at, self.move_at, self.unsent = self.heard_at, math.inf, b""
        self.authenticated = self.opened = False

    def send(self, data: bytes) -> None:
        self._socket.settimeout(SEND_TIMEOUT)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise ConnectionLost("the server takes nothing") from None
        except OSError:
            pass  # the server has closed: there may be an ERROR to read that says why

    def receive(self, until: float) -> tuple[int, Any] | None:
        while (received := self._reader.next()) is None and (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError as error:  # of TLS, too: a server looks at the client's certificate last
                raise failed(error, "the connection broke") from None
            if not data:
                raise ConnectionLost("the server closed the connection")
            self.heard_at = time.monotonic()
            self._reader.feed(data)
        return received

    def close(self, abruptly: bool = False) -> None:
        if abruptly:  # a reset
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(0)
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()  # says close_notify, and does not wait for the server's
        self._socket.close()


@dataclass
class Stats:
    """`batches` and `heartbeats` count the frames received; the empty batches count too."""

    ticks: int = 0
    batches: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    epoch: int | None = None
    reconnects: int = 0
    heartbeats: int = 0


class Client:
    """A subscription that outlives its connections. `resume`: where to start; None: with what comes next.

    `tls`: None for plain TCP.
    """

    def __init__(
        self, addresses: Sequence[tuple[str, int]], user: str, password: str, mode: Mode,
        symbols: Sequence[str] = (), *, resume: Resume | None = None, cut_every: int = 0,
        heartbeat_every: float = 10.0, backoff: tuple[float, float] = (1.0, 30.0), tls: Tls | None = None,
    ) -> None:  # fmt: skip
        subscribe_payload(mode, resume, symbols)  # raises here what is over its limits
        self._auth = frame(AUTH, auth_payload(user, password))
        self._mode, self._symbols = mode, tuple(symbols)
        self._addresses, self._tls, self._dials, self.connected = addresses, tls, 0, False
        self._cut_every, self._heartbeat_every = cut_every, heartbeat_every
        self._backoff, self._delay = backoff, backoff[0]
        self._link: Link | None = None
        self.position, self.stats, self.failure = resume, Stats(), ConnectionLost("never connected")

    def close(self, abruptly: bool = False) -> None:
        if self._link:
            self._link.close(abruptly)
        self._link = None

    def batches(self, deadline: float = math.inf) -> Iterator[Batch]:
        """Every batch until `deadline`, of `time.monotonic()`. May be called again: it resumes."""
        until_cut = self._cut_every
        while time.monotonic() < deadline:
            try:
                batch = self._step(deadline)
            except ConnectionLost as lost:
                wait = self._next_delay()
                if self._link and self._link.move_at < math.inf:  # it was draining, and said when to come
                    wait = self._link.move_at - time.monotonic()
                self.failure = lost
                self.close()
                time.sleep(max(0.0, min(wait, deadline - time.monotonic())))
                continue
            except (ProtocolError, Refused, TlsFailed):
                self.close()
                raise
            if batch is not None:
                yield batch
                until_cut -= bool(batch.ticks)
                if self._cut_every and until_cut == 0:
                    until_cut = self._cut_every
                    self.close(abruptly=True)

    def _next_delay(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, self._backoff[1])
        return delay

    def _connect(self, deadline: float) -> None:
        """To the next address in turn. An old connection is closed only when the new one stands."""
        self._dials += 1
        link = Link(self._addresses[(self._dials - 1) % len(self._addresses)], deadline, self._tls)
        payload = subscribe_payload(self._mode, self.position, self._symbols)
        subscribe, fits = frame(SUBSCRIBE, payload), len(payload) <= MAX_PAYLOAD_BEFORE_AUTH
        link.unsent = b"" if fits else subscribe  # until AUTH has been accepted
        link.heartbeat_at += self._heartbeat_every
        link.send(self._auth + subscribe if fits else self._auth)
        self.close()
        self.stats.reconnects += self.connected
        self._link, self.connected = link, True

    def _step(self, deadline: float) -> Batch | None:
        """Receives one message. None if it is no batch, or if there is something else to do first."""
        if self._link is None:
            self._connect(deadline)
        elif time.monotonic() >= self._link.move_at:
            try:
                self._connect(deadline)
            except ConnectionLost:  # the draining one still sends ticks: stay, and try the next address later
                self._link.move_at = time.monotonic() + self._next_delay()
        link, now = self._link, time.monotonic()
        assert link is not None
        if now >= link.heartbeat_at:
            link.send(frame(HEARTBEAT))
            link.heartbeat_at = now + self._heartbeat_every
        silent_at = link.heard_at + (SILENCE_TIMEOUT if link.authenticated else ANSWER_TIMEOUT)
        if now >= silent_at:
            raise ConnectionLost("the server is silent")
        match link.receive(min(deadline, link.heartbeat_at, link.move_at, silent_at)):
            case (_, Batch() as batch):
                self._check(batch, link)
                return batch
            case (_, ServerError(code=Code.DRAINING, retry_after_ms=wait)):
                link.move_at = time.monotonic() + wait / 1000
            case (_, ServerError(code=code, message=message, retry_after_ms=wait) as error):
                name = Code(code).name if code in list(Code) else "an unknown code"
                raise Refused(f"the server says {name} ({code}), retry after {wait} ms: {message}", error)
            case (_, _):  # HEARTBEAT; the first one is the answer to AUTH
                self.stats.heartbeats += 1
                if link.unsent and not link.authenticated:
                    link.send(link.unsent)
                link.authenticated = True
        return None

    def _check(self, batch: Batch, link: Link) -> None:
        first, last = batch.first_sequence, batch.last_sequence
        name = f"batch {first}..={last} of epoch {batch.epoch}"
        if not link.authenticated:
            raise ProtocolError(f"{name} came before AUTH was accepted")
        if batch.schema_version != 1:
            raise ProtocolError(f"{name} has schema_version {batch.schema_version}, not 1")
        if batch.epoch == 0 or first == 0 or last < first - 1 or len(batch.ticks) > last - first + 1:
            raise ProtocolError(f"{name} with {len(batch.ticks)} ticks: that cannot be")
        if not link.opened and last >= first:
            raise ProtocolError(f"{name} is the subscription's first, and not an empty range")
        if unasked := {tick.symbol for tick in batch.ticks if self._symbols} - set(self._symbols):
            raise ProtocolError(f"{name} has symbols that were not subscribed to: {sorted(unasked)}")
        if self.position is not None:
            epoch, expected = self.position.epoch, self.position.after_sequence + 1
            if epoch not in (0, batch.epoch):
                raise ContinuityError(f"{name} comes after one of epoch {epoch}")
            if first != expected:
                what = "gap" if first > expected else "repeat"
                raise ContinuityError(f"{what}: {name} does not start at {expected}")
        link.opened, self._delay, self.position = True, self._backoff[0], Resume(batch.epoch, last)
        if self.stats.first_sequence is None:
            self.stats.first_sequence = first
        self.stats.last_sequence, self.stats.epoch = last, batch.epoch
        self.stats.batches += 1
        self.stats.ticks += len(batch.ticks)


def decimal(value: int) -> str:
    whole, rest = divmod(abs(value), UNIT)
    return f"{'-' * (value < 0)}{whole}.{rest:09}".rstrip("0").rstrip(".")


def readable(tick: Tick) -> str:
    seconds, nanos = divmod(tick.time_unix_nano, UNIT)
    when = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"
    columns = ("open", "high", "low", "close", "volume")
    numbers = " ".join(f"{name} {decimal(getattr(tick, name))}" for name in columns)
    return f"{when} {tick.symbol} {numbers} trades {tick.trades}"


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not 0 < int(port) < 1 << 16:
        raise ValueError(text)
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prints ticks. The password is in $STREAM_PASS.")
    parser.add_argument("--address", action="append", required=True, type=address, metavar="HOST:PORT")
    parser.add_argument("--tls", action="store_true", help="speak TLS 1.3, as the server is set up to")
    parser.add_argument("--ca", metavar="FILE", help="with --tls: whom to trust; else, whom the system does")
    parser.add_argument("--cert", metavar="FILE", help="with --tls: the client's certificate, and its chain")
    parser.add_argument("--key", metavar="FILE", help="with --cert: its key, unencrypted")
    parser.add_argument("--server-name", metavar="NAME", help="with --tls: the certificate's, if not HOST")
    parser.add_argument("--user", required=True)
    parser.add_argument("--mode", required=True, choices=[mode.name.lower() for mode in Mode])
    parser.add_argument("--symbols", default="", metavar="A,B", help="all, if not given")
    parser.add_argument("--after", type=int, metavar="N", help="start after sequence N")
    parser.add_argument("--ticks", type=int, metavar="N", help="end after N ticks")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after S seconds")
    parser.add_argument("--cut-every", type=int, default=0, metavar="N", help="cut after N batches")
    parser.add_argument("--json", action="store_true", help="a JSON object for each tick")
    options = parser.parse_args(argv)
    if options.ticks is None and options.seconds is None:
        parser.error("one of --ticks and --seconds is needed")
    if options.ticks is not None and options.ticks < 1 or options.cut_every < 0:
        parser.error("--ticks is at least 1, and --cut-every is not negative")
    if not options.tls and any((options.ca, options.cert, options.key, options.server_name)):
        parser.error("--ca, --cert, --key and --server-name are for --tls")
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key are given together, or not at all")
    if "STREAM_PASS" not in os.environ:
        parser.error("the environment variable STREAM_PASS is not set")
    return options


def run(options: argparse.Namespace) -> Stats:
    """Prints exactly --ticks ticks, if they come in time."""
    tls = Tls(options.ca, options.cert, options.key, options.server_name) if options.tls else None
    client = Client(
        options.address, options.user, os.environ["STREAM_PASS"], Mode[options.mode.upper()],
        [symbol for symbol in options.symbols.split(",") if symbol],
        resume=None if options.after is None else Resume(0, options.after), cut_every=options.cut_every,
        tls=tls,
    )  # fmt: skip
    deadline = time.monotonic() + (math.inf if options.seconds is None else options.seconds)
    left = sys.maxsize if options.ticks is None else options.ticks
    with contextlib.closing(client):
        for batch in client.batches(deadline):
            for tick in batch.ticks[:left]:
                print(json.dumps(asdict(tick)) if options.json else readable(tick))
            sys.stdout.flush()
            if (left := left - len(batch.ticks)) <= 0:
                client.stats.ticks = options.ticks  # the last batch may have had more
                break
    if not client.connected:
        raise client.failure
    return client.stats


def main(argv: Sequence[str] | None = None) -> int:
    try:
        stats = run(parse_arguments(argv))
    except (ConnectionLost, ProtocolError, Refused, TlsFailed, ValueError) as error:
        text = error.args[0] if isinstance(error, Refused) else str(error)
        print("tickwire_client:", "".join(c if c.isprintable() else " " for c in text), file=sys.stderr)
        return 1
    print(json.dumps(asdict(stats)), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
