"""N simulated agents of a swarm in this one process: they talk to a real directory, and no bytes move between them.

Run as `python -m bench.swarm_agents`, with a `Crowd` as JSON on standard input; prints an `Outcome` as JSON. Messages
go over HTTP on connections that are kept open. A piece arrives when the lines of who sends it and of who takes it
have carried it, in real time: each line carries `rate` bytes a second, in the order in which pieces began. What an
agent asks for and when is decided by envagent's own code (`envagent.peers.asking`).

HTTP is spoken by hand here, for a client of aiohttp would take more of a core than the proxy does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from random import Random
from time import process_time
from urllib.parse import urlsplit

import msgspec

from envagent.peers.asking import AT_ONCE, Asking
from envproxy.swarm import messages
from envproxy.swarm.bitmap import to_bytes
from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import Beat, Given, Hello, Message, Offer, Want, Welcome

from .server import Server

SLOTS = 8  # pieces that an agent sends at a time
BUSY_S = (0.05, 0.25)  # after a piece that no peer gave
TOGETHER_S = 1.0  # all begin within it
PRIMING_S = 0.2  # between two looks whether the proxy has hashed all pieces
Then = Callable[[bytes], None]


class Crowd(msgspec.Struct, frozen=True):
    """Who wants what: `agents` agents the artifact at `path` of a proxy, over lines of `rate` bytes a second.

    `proxy` is an origin, `pid` the proxy's process.
    """

    proxy: str
    pid: int
    secret: str
    sha256: str
    path: str
    size: int
    agents: int
    rate: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of it. `latencies` are seconds from a question to its answer, of those that waited for no news.

    `seconds` passed until the last agent had everything, in which the proxy worked `proxy_cpu_s`, this process
    `own_cpu_s`.
    """

    seconds: float
    wants: int
    latencies: list[float]
    from_origin: int
    pieces: int
    proxy_cpu_s: float
    own_cpu_s: float


class Line(asyncio.Protocol):
    """One connection to the proxy, for one request at a time."""

    def __init__(self, head: str) -> None:
        self._head = head
        self._buffer = bytearray()
        self._then: Then | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def post(self, what: str, message: Message, then: Then) -> None:
        """Send a message; `then` is called with the body of the answer."""
        assert self._transport is not None
        body, self._then = messages.encode(message), then
        head = f"POST /swarm/v1/{what} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self._buffer) >= end + 4 + length:
            body, then = bytes(self._buffer[end + 4 :]), self._then
            self._buffer.clear()
            assert then is not None
            then(body)


class Link:
    """What carries pieces one after the other, `rate` bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    def carries(self, size: int, now: float) -> float:
        """When another piece that begins now will have passed."""
        self._free_at = max(now, self._free_at) + size / self._rate
        return self._free_at


class Agent:
    """One of them: what it has, what moves, what queues, and what it sends."""

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.up = Link(site.crowd.rate)
        self.sending = 0
        self._down = Link(site.crowd.rate)
        self._site = site
        self._asking = Asking()
        self._held = 0
        self._moving: set[int] = set()
        self._queue: deque[Offer] = deque()
        self._running = 0
        self._hashes = 0
        self._latest = 0
        self._waits = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Tell the directory what is here, and ask for more."""
        self._timer = None
        if self._held != self._site.everything:
            count = self._asking.count(len(self._moving))
            sent_at = self._site.now()
            self._asking = self._asking.asked(sent_at)
            self._waits = True
            self._want(count, lambda serial, body: self._answered(serial, sent_at, body))

    def _want(self, count: int, then: Callable[[int, bytes], None]) -> None:
        site = self._site
        self._latest = serial = next(site.serials)
        moving = sum(1 << piece for piece in self._moving)
        want = site.want(self.name, serial=serial, count=count, held=self._held, moving=moving, hashes=self._hashes)
        site.post("want", want, lambda body: then(serial, body))

    def _answered(self, serial: int, sent_at: float, body: bytes) -> None:
        given, site = messages.decode(body, Given), self._site
        site.wants += 1
        if given.pace_s:
            site.latencies.append(site.now() - sent_at)
        if serial != self._latest:
            return
        self._waits = False
        self._asking = self._asking.answered(given.pace_s)
        self._hashes += len(given.hashes) // 32
        self._moving |= {*given.leases, *(offer.piece for offer in given.offers)}
        self._queue += given.offers
        for piece in given.leases:
            site.from_origin += 1
            self._take(piece, None)
        self._go_on()

    def _go_on(self) -> None:
        """Begin what queues, and ask when that is due."""
        while self._queue and self._running < AT_ONCE:
            offer = self._queue.popleft()
            givers = (self._site.agents[peer.node] for peer in offer.peers)
            giver = next((one for one in givers if one.sending < SLOTS), None)
            if giver is not None:
                self._take(offer.piece, giver)
            else:
                self._running += 1
                pause_s = self._site.random.uniform(*BUSY_S)
                asyncio.get_running_loop().call_later(pause_s, self._over, offer.piece)
        asks_later = self._timer is not None or (self._waits and self._asking.pace_s)
        if not asks_later and self._asking.count(len(self._moving)):
            pause_s = self._asking.pause_s(self._site.now())
            self._timer = asyncio.get_running_loop().call_later(pause_s, self.ask)

    def _take(self, piece: int, giver: Agent | None) -> None:
        site, now = self._site, self._site.now()
        self._running += 1
        if giver is not None:
            giver.sending += 1
        up = giver.up if giver is not None else site.origin
        at = max(line.carries(site.layout.piece_bytes, now) for line in (up, self._down))
        asyncio.get_running_loop().call_at(at, self._arrived, piece, giver)

    def _arrived(self, piece: int, giver: Agent | None) -> None:
        if giver is not None:
            giver.sending -= 1
        self._held |= 1 << piece
        self._asking = self._asking.with_landed()
        self._over(piece)

    def _over(self, piece: int) -> None:
        self._running -= 1
        self._moving.discard(piece)
        if self._held != self._site.everything:
            self._go_on()
        elif not self._moving:
            self._want(0, lambda _serial, _body: self._site.done())


class Site:
    """All agents, the line of the proxy, and the connections to it."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.layout = Layout.of(crowd.size)
        self.everything = self.layout.all
        self.random = Random(1)
        self.serials = count(1)
        self.origin = Link(crowd.rate)
        self.agents = {f"node-{number}": Agent(f"node-{number}", self) for number in range(crowd.agents)}
        self.directory = ""
        self.wants = self.from_origin = 0
        self.latencies: list[float] = []
        self.now = asyncio.get_running_loop().time
        self._left = crowd.agents
        self._ended = asyncio.Event()
        self._idle: list[Line] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._address = urlsplit(crowd.proxy)
        self._head = (
            f"Host: {self._address.netloc}\r\nAuthorization: Bearer {crowd.secret}\r\n"
            f"Content-Type: {messages.MEDIA_TYPE}\r\n"
        )

    async def run(self) -> Outcome:
        """All of it: come, want, end."""
        await asyncio.gather(*(self._come(agent) for agent in self.agents.values()))
        await self._prime()
        proxy = Server("envproxy", self.crowd.proxy, self.crowd.pid, 0.0)
        loop, began, proxy_cpu_s, own_cpu_s = asyncio.get_running_loop(), self.now(), proxy.cpu_s(), process_time()
        for agent in self.agents.values():
            loop.call_later(self.random.uniform(0, TOGETHER_S), agent.ask)
            loop.call_later(self.random.uniform(0, self._heartbeat_s), self._beat, agent)
        await self._ended.wait()
        return Outcome(
            self.now() - began,
            self.wants,
            self.latencies,
            self.from_origin,
            self.layout.count,
            proxy.cpu_s() - proxy_cpu_s,
            process_time() - own_cpu_s,
        )

    def done(self) -> None:
        """An agent has everything."""
        self._left -= 1
        if not self._left:
            self._ended.set()

    def post(self, what: str, message: Message, then: Then) -> None:
        """Send a message on a connection that is free, or a new one."""
        if self._idle:
            self._post(self._idle.pop(), what, message, then)
            return

        async def opened() -> None:
            loop = asyncio.get_running_loop()
            host, port = self._address.hostname, self._address.port
            _, line = await loop.create_connection(lambda: Line(self._head), host, port)
            self._post(line, what, message, then)

        task = asyncio.create_task(opened())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _post(self, line: Line, what: str, message: Message, then: Then) -> None:
        def answered(body: bytes) -> None:
            self._idle.append(line)
            then(body)

        line.post(what, message, answered)

    async def _come(self, agent: Agent) -> None:
        hello = Hello(node=agent.name, epoch=1, address=f"http://{agent.name}.example.org:8418", slots=SLOTS)
        welcome = messages.decode(await self._said("hello", hello), Welcome)
        self.directory, self._heartbeat_s = welcome.directory, welcome.heartbeat_s

    async def _prime(self) -> None:
        """Wait until the proxy has hashed all pieces."""
        first, hashed = next(iter(self.agents)), 0
        while hashed < self.layout.count:
            given = messages.decode(
                await self._said("want", self.want(first, serial=next(self.serials), count=0)), Given
            )
            hashed = len(given.hashes) // 32
            await asyncio.sleep(PRIMING_S)

    async def _said(self, what: str, message: Message) -> bytes:
        said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.post(what, message, said.set_result)
        return await said

    def want(self, node: str, *, serial: int, count: int, held: int = 0, moving: int = 0, hashes: int = 0) -> Want:
        """A question for the artifact; sets of pieces are whole numbers."""
        return Want(
            node=node, epoch=1, directory=self.directory, sha256=self.crowd.sha256, path=self.crowd.path,
            held=to_bytes(held), moving=to_bytes(moving), count=count, hashes=hashes, serial=serial,
        )  # fmt: skip

    def _beat(self, agent: Agent) -> None:
        beat = Beat(node=agent.name, epoch=1, directory=self.directory, busy=agent.sending)
        self.post("beat", beat, lambda _: None)
        asyncio.get_running_loop().call_later(self._heartbeat_s, self._beat, agent)


async def _main() -> None:
    crowd = msgspec.json.decode(sys.stdin.buffer.read(), type=Crowd)
    outcome = await Site(crowd).run()
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    asyncio.run(_main())
