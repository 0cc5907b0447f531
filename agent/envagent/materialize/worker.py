"""What a worker process does: read jobs from its stdin, write answers to its stdout.

Frames are a length of four bytes and MessagePack. It ends when stdin does, so it never outlives the process that
started it, however that one ended. `python -m envagent.materialize.worker` is one; see children.py for another way.
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


def answer(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for whoever asked, who then closes the pipe
    gc.disable()  # nothing here makes cycles, and looking for them among thousands of members takes long
    jobs = msgspec.msgpack.Decoder(Job)
    while True:
        try:
            send(stdout, perform(jobs.decode(receive(stdin))))
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    answer(sys.stdin.buffer, sys.stdout.buffer)
