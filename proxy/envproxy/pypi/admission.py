"""Which names the list of an index may have: those that its policy does not refuse in every version.

The same decision as `Policy.judge_name`, which gives a reason and takes one name; this one is for a million of them.
It is plain data, kept beside each list that was made under it, so a list made under other rules is known for one.
Rules about versions and times say nothing of a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import Self

from envproxy.policy import Policy


@dataclass(frozen=True, slots=True)
class Admission:
    """Patterns on normalised names (PEP 503): `deny` refuses; `allow` refuses all others, unless it is None."""

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None

    @classmethod
    def under(cls, policy: Policy) -> Self:
        """What `policy` says of names."""
        return cls(
            deny=tuple(rule.pattern for rule in policy.deny if rule.specifier is None),
            allow=tuple(rule.pattern for rule in policy.allow) if policy.allow else None,
        )

    def filter(self) -> Callable[[bytes], bool]:
        """Whether a normalised name is admitted, made to be asked often."""
        denied = _any_of(self.deny)
        if self.allow is None:
            return lambda name: not denied(name)
        allowed = _any_of(self.allow)
        return lambda name: allowed(name) and not denied(name)


EVERY_NAME = Admission()


def _any_of(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    expressions = [translate(pattern) for pattern in patterns]
    if not expressions:
        return lambda _name: False
    match = re.compile("|".join(expressions).encode()).match
    return lambda name: match(name) is not None
