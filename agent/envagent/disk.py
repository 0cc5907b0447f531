"""What the operating system says of a disk, in words: the one place that turns OSError into DiskRefused."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envagent.errors import DiskRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOM = "make room (`envagent gc` removes what no environment needs), or choose another disk with --data"
_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files of that size are not allowed there",
    errno.EROFS: "the filesystem is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.ENOTDIR: "a part of its path is a file",
    errno.EEXIST: "something else is there",
    errno.EISDIR: "it is a directory",
    errno.ENOENT: "it is not there, and cannot be made",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EIO: "the disk fails",
}
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Raise DiskRefused for every OSError that names a file or whose cause a person can mend; others pass."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in _WORDS:
            raise
        what = _WORDS.get(error.errno or 0) or str(error.strerror).lower()
        done = "written" if error.errno in _OF_WRITING else "used"
        raise DiskRefused(
            f"{error.filename or 'a file'} cannot be {done}: {what}",
            hint=_ROOM if error.errno in {errno.ENOSPC, errno.EDQUOT} else "choose another place for it",
        ) from error
