"""What agents and the directory say to one another: msgpack maps over HTTP (docs/swarm.md has the protocol).

One struct a message; unknown keys are ignored, and both sides speak the same VERSION. Bitmaps are bytes, piece n
being bit n % 8 (the lowest first) of byte n // 8; the empty one has no piece. Digests are SHA-256 in lower-case hex,
sizes are bytes, durations seconds. `decode` refuses what is out of bounds, so whoever holds a message may believe its
form, though not its claims.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from envproxy.errors import ClientError

MEDIA_TYPE: Final = "application/msgpack"
VERSION: Final = 2
NODE_HEADER: Final = "X-Envmesh-Node"  # who asks for a piece
TICKET_HEADER: Final = "X-Envmesh-Ticket"  # why a peer may have it
MAX_HOLDINGS: Final = 5_000  # in one announcement; an inventory comes in as many as it takes

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Label = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#@]{1,255}$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Path = Annotated[str, msgspec.Meta(pattern=r"^/[!-~]{1,2047}$")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 44)]
Bitmap = Annotated[bytes, msgspec.Meta(max_length=1 << 10)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]

Again = Literal["", "hello", "announce"]
"""What the directory asks of an agent whose state it does not have: nothing, to say hello, or to announce all."""

Wrong = Literal["bad_hash", "unreachable", "slow"]
"""What a peer did wrong."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The root: a msgpack map with the field names as keys."""


class Hello(Message, frozen=True, kw_only=True):
    """An agent comes, or comes back: POST /swarm/v1/hello. `epoch` grows with each start of the agent.

    `address` is where peers reach it; `tenant` is what it believes to be, "" for whatever its secret says; `slots`
    are the pieces that it sends at the same time.
    """

    node: Name
    epoch: Count
    address: Address
    zone: Label = ""
    tenant: Label = ""
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    version: Count = VERSION


class Welcome(Message, frozen=True, kw_only=True):
    """The answer to `Hello`. `directory` is another one after each restart of the directory.

    `ticket_key` verifies the tickets of the agent's own tenant. The rest are seconds: to beat, until a silent agent
    is forgotten, to announce again, a lease's life, the longest that a `Want` may wait.
    """

    directory: str
    tenant: str
    ticket_key: bytes
    heartbeat_s: float
    expiry_s: float
    announce_s: float
    lease_s: float
    wait_s: float
    version: int = VERSION


class Holding(Message, frozen=True, kw_only=True):
    """What an agent has of one artifact and can send: all of it (`held` is None), or some pieces of `piece_bytes`."""

    sha256: Digest
    size: Size
    private: bool
    piece_bytes: Size = 0
    held: Bitmap | None = None


class Beat(Message, frozen=True, kw_only=True):
    """A heartbeat, with what is new: POST /swarm/v1/beat.

    `busy` are the pieces being sent to peers now. `holdings` replace what was said of these artifacts, `gone` takes
    others back; with `anew` everything said before is forgotten first. `artifacts` is how many the agent has
    announced in all, this message included: another count here means that something was lost.
    """

    node: Name
    epoch: Count
    directory: str
    busy: Count = 0
    artifacts: Count = 0
    anew: bool = False
    leaving: bool = False
    holdings: Annotated[list[Holding], msgspec.Meta(max_length=MAX_HOLDINGS)] = []
    gone: Annotated[list[Digest], msgspec.Meta(max_length=MAX_HOLDINGS)] = []


class Beaten(Message, frozen=True, kw_only=True):
    """The answer to `Beat`."""

    again: Again = ""


class Want(Message, frozen=True, kw_only=True):
    """An agent wants an artifact: POST /swarm/v1/want, one such request at a time for each artifact.

    `path` is the artifact's path on this proxy's faces. `held` and `moving` are the whole truth about the pieces that
    are here and under way: a lease that is in neither is given back. `count` pieces are wanted now, `hashes` are
    known already, `avoid` are peers not to be named. The answer waits for news until `wait_s` has passed. `serial`
    grows with each `Want` of an agent's life: one that another overtook on its way says nothing any more.
    """

    node: Name
    epoch: Count
    directory: str
    sha256: Digest
    path: Path
    held: Bitmap = b""
    moving: Bitmap = b""
    count: Annotated[int, msgspec.Meta(ge=0, le=64)] = 8
    hashes: Count = 0
    avoid: Annotated[list[Name], msgspec.Meta(max_length=64)] = []
    serial: Count = 0
    wait_s: Seconds = 1.0


class Peer(Message, frozen=True, kw_only=True):
    """Somebody who has a piece. `ticket` goes into the header TICKET_HEADER; "" where none is needed."""

    node: str
    address: str
    zone: str
    ticket: str = ""


class Offer(Message, frozen=True, kw_only=True):
    """A piece and the peers to ask for it, in this order."""

    piece: int
    peers: list[Peer]


class Given(Message, frozen=True, kw_only=True):
    """The answer to `Want`.

    `size` is None as long as nobody knows the artifact's length; then nothing else is known either. `hashes` are the
    SHA-256 of pieces `hashes_from`, `hashes_from + 1`, ... (32 bytes each), as far as the proxy has read. `leases`
    are pieces to fetch from the proxy, `offers` pieces to fetch from peers. `again` asks for `Hello` first.
    The next `Want` for the artifact is to be sent `pace_s` after this one, not before: in a small swarm that is 0.
    """

    private: bool = True
    size: int | None = None
    piece_bytes: int = 0
    hashes_from: int = 0
    hashes: bytes = b""
    leases: list[int] = []
    offers: list[Offer] = []
    again: Again = ""
    pace_s: float = 0.0


class Fault(Message, frozen=True, kw_only=True):
    """`peer` failed to give a piece as it should."""

    sha256: Digest
    private: bool
    piece: Count
    peer: Name
    wrong: Wrong


class Report(Message, frozen=True, kw_only=True):
    """An agent tells of faults of its peers: POST /swarm/v1/report, answered 204."""

    node: Name
    epoch: Count
    directory: str
    faults: Annotated[list[Fault], msgspec.Meta(max_length=100)]


class Have(Message, frozen=True, kw_only=True):
    """What an agent has of an artifact, told to a peer that asks it directly: GET /swarm/v1/artifacts/<sha256>."""

    size: Size
    piece_bytes: Size
    held: Bitmap


M = TypeVar("M", bound=Message)

_ENCODER = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The message as msgpack."""
    return _ENCODER.encode(message)


def decode(data: bytes, kind: type[M]) -> M:
    """The message of a `kind`. Raises ClientError for anything else."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ClientError(
            f"the body is no {kind.__name__}: {error}", hint="docs/swarm.md has the messages"
        ) from error
