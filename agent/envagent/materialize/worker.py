"""A worker process: `python -m envagent.materialize.worker` reads jobs from stdin and writes answers to stdout.

Frames are a length of four bytes and MessagePack. It ends when stdin does, so it never outlives the process that
started it, however that one ended. A separate program rather than a fork: the parent may have threads.
"""

from __future__ import annotations

import gc
import struct
import sys
from typing import BinaryIO

import msgspec

from envagent.materialize.job import Job
from envagent.materialize.work import perform

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


def main() -> None:
    """Answer until nobody asks."""
    gc.disable()  # nothing here makes cycles, and looking for them among thousands of members takes long
    jobs = msgspec.msgpack.Decoder(Job)
    while True:
        try:
            send(sys.stdout.buffer, perform(jobs.decode(receive(sys.stdin.buffer))))
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    main()
