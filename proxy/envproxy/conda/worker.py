"""Where making runs: small jobs in a thread, large ones in a process of their own.

Half a million records keep an interpreter busy for seconds and leave half a gigabyte behind, so such a job gets a
process, one at a time, which ends with it: the event loop stays free and the memory goes back. Digests cross the
border as msgpack on stdin and stdout. A process that dies (killed, out of memory) is a failure like any other.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import zstandard

from envproxy.engine.store import BlobStore
from envproxy.errors import BadUpstreamBody, Oversized, StorageFull, UpstreamError

from .making import Convert, Fit, Flatten, Job, Made, Make, do

SMALL_BYTES = 1_000_000  # of JSON: some 20 ms of work
SLACK_BYTES = 1024**3  # of address space, for a worker that has nothing to do yet, and for what is compressed


class Order(msgspec.Struct, frozen=True):
    """A job, the root of the store that it works in, and the most that a file may have, decompressed."""

    root: str
    job: Job
    limit: int

    @property
    def memory_bytes(self) -> int:
        """Address space for it: the mapped file, and as much again for what is made of it, which is half as much
        where records are as long as they are in real channels.
        """
        return SLACK_BYTES + 2 * self.limit


class Outcome(msgspec.Struct, frozen=True):
    """What came of an order; without `made`, `error` says why and `full` whether the disk was."""

    made: Made | None = None
    error: str = ""
    full: bool = False
    missing: bool = False


class Workshop:
    """Runs jobs on files of up to `limit_bytes`, decompressed; up to `small_bytes` in a thread."""

    def __init__(self, store: BlobStore, *, limit_bytes: int, small_bytes: int = SMALL_BYTES) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._small_bytes = small_bytes
        self._turn = asyncio.Semaphore(1)  # two large channels at once would take twice the memory

    async def do(self, job: Job) -> Made:
        """See `making.do`; raises UpstreamError if the process died."""
        if await asyncio.to_thread(self._is_small, job):
            with suppress(Oversized):  # more than its first frame said: a large job after all
                return await asyncio.to_thread(do, job, self._store, limit=min(self._small_bytes, self._limit_bytes))
        async with self._turn:
            outcome = await _in_process(Order(str(self._store.root), job, self._limit_bytes))
        if outcome.made is not None:
            return outcome.made
        if outcome.missing:
            raise FileNotFoundError(outcome.error)
        raise StorageFull(outcome.error) if outcome.full else BadUpstreamBody(outcome.error)

    def _is_small(self, job: Job) -> bool:
        if isinstance(job, Flatten):
            return len(job.shards) <= 100
        path = self._store.path(job.source)
        return _plain_size(path, job) <= self._small_bytes


def _plain_size(path: Path, job: Make | Convert | Fit) -> float:
    """Bytes of JSON in a file as well as they can be told, infinite if they cannot."""
    with path.open("rb") as file:
        head = file.read(18)  # the longest header of a zstd frame
        size = file.seek(0, 2)
    if head.startswith(b"BZh"):
        return float("inf")
    if not head.startswith(zstandard.FRAME_HEADER):
        return size
    try:
        stated = zstandard.frame_content_size(head)
    except zstandard.ZstdError:
        return size  # it is broken, which a thread finds out
    return float("inf") if stated < 0 else max(stated, size)


async def _in_process(order: Order) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        answer, _ = await process.communicate(msgspec.msgpack.encode(order))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.msgpack.decode(answer, type=Outcome)
    except msgspec.DecodeError as error:
        raise UpstreamError(
            f"the process that reads repodata died (exit code {process.returncode})",
            cause="bad_body",
            hint="it may have run out of memory; the log of the kernel says so then",
        ) from error


def attempt(order: Order) -> Outcome:
    """Do the job of an order; every failure that a caller is to know of becomes an outcome."""
    try:
        return Outcome(do(order.job, BlobStore(Path(order.root)), limit=order.limit))
    except BadUpstreamBody as error:
        return Outcome(error=error.message)
    except StorageFull as error:
        return Outcome(error=error.message, full=True)
    except FileNotFoundError as error:
        return Outcome(error=str(error), missing=True)
    except MemoryError:
        return Outcome(error=f"this repodata takes more than {order.memory_bytes} bytes of memory")


def main() -> None:
    """Read one order from stdin, write its outcome to stdout."""
    gc.disable()  # nothing here makes cycles, and collecting among millions of objects takes a tenth of the time
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    resource.setrlimit(resource.RLIMIT_AS, (order.memory_bytes, order.memory_bytes))
    sys.stdout.buffer.write(msgspec.msgpack.encode(attempt(order)))


if __name__ == "__main__":
    main()
