"""Every error that envproxy raises on purpose, in one small tree.

Each class knows the HTTP status that a client must see and whose fault it is, so the one place that
turns errors into responses needs no table. Messages say what failed and on which name; `hint` says what to
try. Statuses follow what installers do with them: a failing upstream is always 503 with a numeric Retry-After
(pip retries neither 504 nor 429, and takes 404 as leave to ask another index).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Cause = Literal["timeout", "connect", "5xx", "4xx", "breaker_open", "bad_body"]
"""What kind of failure of an upstream it was: a closed set, for metrics."""


class EnvproxyError(Exception):
    """The root: `status` is the HTTP answer, `title` the short kind for problem+json (RFC 9457)."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @classmethod
    def kind(cls) -> str:
        """The title as a slug, the `type` by which programs tell problems apart (RFC 9457, 3.1.1)."""
        return f"urn:envmesh:problem:{cls.title.lower().replace(' ', '-')}"


# --- the operator's fault: said at start, exit code 2 ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the configuration: `where` is its dotted key or variable, `what` the rule it broke."""

    where: str
    what: str
    hint: str = ""


class ConfigError(EnvproxyError):
    """The configuration is not usable. Carries *all* problems, not the first."""

    title = "Bad configuration"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.where}: {p.what}" for p in problems))
        self.problems = problems


# --- the client's fault ---------------------------------------------------------------------------------


class ClientError(EnvproxyError):
    """The request cannot be answered as asked."""

    status = 400
    title = "Bad request"


class NoSuchThing(ClientError):
    """A definite absence: upstream says so, or nothing of that name was ever configured."""

    status = 404
    title = "Not found"


class Unauthorized(ClientError):
    """No or wrong credentials; the answer carries WWW-Authenticate, for pip asks its keyring only then."""

    status = 401
    title = "Credentials required"


class PolicyRefused(ClientError):
    """A policy of this proxy forbids the file; the message becomes the reason phrase that pip prints."""

    status = 403
    title = "Refused by policy"


class Conflict(ClientError):
    """An upload would change what a published filename means."""

    status = 409
    title = "Conflict"


class TooLarge(ClientError):
    """A body or URL beyond the configured bound."""

    status = 413
    title = "Too large"


# --- upstream's fault -----------------------------------------------------------------------------------


class UpstreamError(EnvproxyError):
    """Upstream failed and nothing cached can stand in: 503, and a client should come back after `retry_after_s`.

    `answered` is the status that upstream gave, if it gave one.
    """

    status = 503
    title = "Upstream failed"

    def __init__(
        self, message: str, *, cause: Cause, hint: str = "", retry_after_s: int = 5, answered: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.retry_after_s = retry_after_s
        self.answered = answered


class BadUpstreamBody(UpstreamError):
    """Upstream answered, but with something that is not what its name promises. Nothing of it is kept."""

    title = "Upstream sent something unusable"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 5) -> None:
        super().__init__(message, cause="bad_body", hint=hint, retry_after_s=retry_after_s)


class Oversized(BadUpstreamBody):
    """Upstream sent, or announced, more than such a thing may have. It was stopped there."""

    title = "Upstream sent too much"


class DigestMismatch(BadUpstreamBody):
    """The bytes are not those that the digest names. The connection to the client is reset, nothing is kept."""

    title = "Digest mismatch"


# --- everybody's fault together ---------------------------------------------------------------------------


class Overasked(EnvproxyError):
    """More is asked for than may leave at a time: come back after `retry_after_s`."""

    status = 503
    title = "Asked for too much"

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


# --- the disk's fault -----------------------------------------------------------------------------------


class StorageFull(EnvproxyError):
    """No room for more bytes, even after eviction. Downloads go on, uncached; uploads are refused."""

    status = 507
    title = "Storage full"
