"""Programs of ours that go on when the command that started them has ended, and that are nobody's child.

A command may become another program (`envagent run`), which must find no children that it never started. So a shell
starts them and ends at once. They have a session of their own and no terminal; what they have to say goes to a file.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def start(module: str, *words: str, files: Sequence[int] = ()) -> None:
    """Run a module with these words and open files, and do not wait for it. OSError passes."""
    command = [sys.executable, "-P", "-m", module, *words]
    quiet = subprocess.DEVNULL
    subprocess.run(  # noqa: S603  # our own module
        ["/bin/sh", "-c", '"$@" &', "sh", *command],
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        pass_fds=files,
        start_new_session=True,
        cwd="/",
        check=True,
    )
