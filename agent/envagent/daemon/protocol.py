"""What goes between a command and the daemon: an order as JSON, and events as lines of JSON (docs/daemon.md).

A stream of events ends with exactly one `made` or `refused`; one that ends otherwise was cut off. The lock travels
as its bytes: both sides take the same digest of it, whatever happens to the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from envagent.app import Made, Order
from envagent.config import changed
from envagent.errors import UsageError
from envagent.materialize.progress import Stage

if TYPE_CHECKING:
    from envagent.config import Config


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An environment to make, as flags of `materialize` say it: "" for what is not named, `prefix` is absolute.

    `lock` is the content of the lock file, in Base64; `name` tells some formats.
    """

    lock: bytes
    name: str = "lock.json"
    env: str = ""
    target: str = ""
    prefix: str = ""
    proxy: str = ""
    proxy_fallback: bool = True
    link_mode: str = "hardlink"
    bytecode: bool = True
    early: bool = False


class Missing(msgspec.Struct, frozen=True, tag_field="event", tag="missing"):
    """So many files, of `size` bytes together, are downloaded."""

    files: int
    size: int


class Received(msgspec.Struct, frozen=True, tag_field="event", tag="received"):
    """`count` more bytes came; fewer than none if they come again."""

    count: int


class Troubled(msgspec.Struct, frozen=True, tag_field="event", tag="troubled"):
    """A source failed."""

    name: str
    why: str


class Arrived(msgspec.Struct, frozen=True, tag_field="event", tag="arrived"):
    """A file is here."""

    name: str


class Progressed(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """A step of an environment, the `done`th of `total`."""

    stage: Stage
    name: str
    done: int
    total: int


class Ready(msgspec.Struct, frozen=True, tag_field="event", tag="made"):
    """The environment is there; `made` is what `materialize --json` prints."""

    made: Made


class Refused(msgspec.Struct, frozen=True, tag_field="event", tag="refused"):
    """There is none; `exit_code` is the command's."""

    message: str
    hint: str
    exit_code: int


News = Missing | Received | Troubled | Arrived | Progressed
Event = News | Ready | Refused


class Due(msgspec.Struct, frozen=True):
    """A command that the daemon runs from time to time: when it last did, None for never, and when it will.

    Both are in seconds since the epoch.
    """

    command: str
    last: float | None
    next: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon is at. `since` is in seconds since the epoch, `running` are the prefixes being made."""

    version: str
    pid: int
    since: float
    data: str
    running: list[str]
    made: int
    refused: int
    upkeep: list[Due]


def asked_for(order: Order, config: Config) -> Asked:
    """What a command with this configuration asks of the daemon."""
    return Asked(
        lock=order.lock,
        name=order.name,
        env=order.env,
        target=order.target,
        prefix=order.prefix,
        proxy=config.proxy,
        proxy_fallback=config.proxy_fallback,
        link_mode=config.link_mode,
        bytecode=config.bytecode,
        early=config.early,
    )


def order_of(asked: Asked) -> Order:
    """What the daemon's app is asked. Raises UsageError."""
    if asked.prefix and not asked.prefix.startswith("/"):
        raise UsageError(f"the order: prefix {asked.prefix!r} is no absolute path", hint="the daemon is elsewhere")
    return Order(asked.lock, asked.name, env=asked.env, target=asked.target, prefix=asked.prefix)


def configured(asked: Asked, own: Config) -> Config:
    """The daemon's own configuration, with what the command says of this order. Raises ConfigRefused."""
    said = {
        "proxy": asked.proxy or own.proxy,
        "proxy-fallback": asked.proxy_fallback and own.proxy_fallback,
        "link-mode": asked.link_mode,
        "bytecode": asked.bytecode,
        "early": asked.early,
    }
    return changed(own, said, where="the order")
