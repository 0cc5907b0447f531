"""What a process does that links files: make directories, then hardlinks, below one place.

    python -I -S linker.py TARGET < marshal: [directory, ...], [(source, [path, ...]), ...]
                                  > marshal: those of either that could not be had

A process, for links by threads are no faster: most of a link is a system call so short that taking turns costs more.
Paths are resolved from the two roots and not from `/`, which takes a third off. It is this program, or a copy of the
process that wants the links (children.py); nothing else is imported, so that the program starts in a hundredth of a
second.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False  # as typing has it, which is slow to import
if TYPE_CHECKING:
    from typing import BinaryIO


def make_directory(directory: str, root: int) -> None:
    """Make it, and what holds it where another process has not made that yet."""
    try:
        os.mkdir(directory, dir_fd=root)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(directory.rpartition("/")[0], root)
        make_directory(directory, root)


def link_all(paths: list[str], root: int) -> list[str]:
    """Link each path of the working directory to the same path of `root`; those that could not be."""
    failed = []
    link = os.link
    for path in paths:
        try:
            link(path, path, dst_dir_fd=root)
        except OSError:  # the one who asked tries again, and says what is wrong
            failed.append(path)
    return failed


def make_all(directories: list[str], root: int) -> list[str]:
    """Make each directory below `root`; those that could not be made."""
    failed = []
    for directory in directories:
        try:
            make_directory(directory, root)
        except OSError:  # as above
            failed.append(directory)
    return failed


def serve(target: str, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Make and link below `target` what stdin says. Leaves the working directory."""
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    _say(make_all(marshal.load(stdin), root), stdout)  # noqa: S302  # our own process wrote it
    failed = []
    for source, paths in marshal.load(stdin):  # noqa: S302  # our own process wrote it
        os.chdir(source)
        failed.append((source, link_all(paths, root)))
    _say(failed, stdout)


def _say(failed: list[str] | list[tuple[str, list[str]]], stdout: BinaryIO) -> None:
    marshal.dump(failed, stdout)
    stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
