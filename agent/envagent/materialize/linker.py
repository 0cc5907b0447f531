"""Run by our own interpreter as a program, never imported: make directories, then hardlinks, below one place.

    python -I -S linker.py TARGET < marshal: [directory, ...], [(source, [path, ...]), ...]
                                  > marshal: None,             [(source, [path, ...]), ...] that could not be linked

A process, for links by threads are no faster: most of a link is a system call so short that taking turns costs more.
Paths are resolved from the two roots and not from `/`, which takes a third off. Nothing else is imported, so that it
starts in a hundredth of a second.
"""

import marshal
import os
import sys


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


def main() -> None:
    """Make and link what stdin says."""
    root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
    for directory in marshal.load(sys.stdin.buffer):  # noqa: S302  # our own process wrote it
        make_directory(directory, root)
    marshal.dump(None, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    failed = []
    for source, paths in marshal.load(sys.stdin.buffer):  # noqa: S302  # our own process wrote it
        os.chdir(source)
        failed.append((source, link_all(paths, root)))
    marshal.dump(failed, sys.stdout.buffer)


if __name__ == "__main__":
    main()
