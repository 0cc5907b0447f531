"""The first start after the machine went down: what was not synced by then may be anything.

The mark of a store is a file with the id of the boot that all its content is of. Whoever finds another id there, or
no mark, looks through the store once, under a lock, before anybody uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envagent.store.flock import held

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def current_boot() -> str:
    """Tells one run of the machine from the next."""
    return _BOOT_ID.read_text().strip()


def once_after_boot(mark: Path, lock: Path, boot: str, look_through: Callable[[], None]) -> None:
    """Call `look_through` if `mark` is of another boot than `boot`; whoever comes meanwhile waits for its end."""
    if _is_of(mark, boot):
        return
    with held(lock):
        if _is_of(mark, boot):
            return
        look_through()
        fresh = mark.with_name(f"{mark.name}.new")
        fresh.write_text(boot)
        fresh.replace(mark)


def _is_of(mark: Path, boot: str) -> bool:
    return mark.is_file() and mark.read_text() == boot
