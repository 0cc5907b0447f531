"""What a worker process does: read jobs from its stdin, write answers to its stdout.

Frames are a length of four bytes and MessagePack. It ends when stdin does, so it never outlives the process that
started it, however that one ended. It is this program, or a copy of that process (children.py).
"""

from __future__ import annotations

import gc
import signal
import struct
import sys
from typing import BinaryIO

import msgspec

from envagent.materialize.job import Job
from envagent.materialize.work import perform

# Give glibc's malloc no reason to return each member's buffer to the kernel: every page of the next would be a fault.
_KEPT_BYTES, _UNTRIMMED_BYTES = 64 << 20, 128 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

PROGRAM = (sys.executable, "-P", "-m", "envagent.materialize.worker")
ENVIRON = {"MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_UNTRIMMED_BYTES)}

_LENGTH = struct.Struct("<I")


def send(stream: BinaryIO, message: object) -> None:
    """Write one frame. OSError passes."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> bytes:
    """The payload of the next frame. Raises EOFError at the end."""
    head = stream.read(_LENGTH.size)
    data = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    return data


def answer_as_copy(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """The same as the program with its `ENVIRON`."""
    import ctypes  # noqa: PLC0415  # slow to import, and only a copy needs it

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc has it, musl does not
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _UNTRIMMED_BYTES)
    answer(stdin, stdout)


def answer(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer until nobody asks."""
    gc.disable()  # nothing here makes cycles, and looking for them among thousands of members takes long
    jobs = msgspec.msgpack.Decoder(Job)
    while True:
        try:
            send(stdout, perform(jobs.decode(receive(stdin))))
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for whoever asked, who then closes the pipe
    answer(sys.stdin.buffer, sys.stdout.buffer)
