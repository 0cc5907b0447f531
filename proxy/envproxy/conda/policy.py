"""Which packages of a channel are shown and served: rules are MatchSpecs, times are the index's.

The order is that of PyPI's policy: deny, allow, allow-anyway, then freeze and min-age. A rule names packages by name
(`*` as in a glob), version, build and build number, as py-rattler understands them; one that goes by anything else
is refused, for it would never apply. Rattler is loaded only where there are rules.
A package's age counts from `indexed_timestamp` (CEP 47), which the server sets, else from the builder's `timestamp`.
Whatever cannot be known counts against the package. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from envproxy.errors import ConfigError, Problem
from envproxy.policy import Policy, Verdict, next_flip

from .channel import Filename

if TYPE_CHECKING:
    from rattler import MatchSpec

    from envproxy.tables import ChannelPolicyConfig

    from .repodata import Repodata

_LAST_SECOND = 253_402_300_799  # 9999-12-31: what is beyond counts milliseconds, as in conda


class _Dated(msgspec.Struct):
    name: str = ""
    version: str = ""
    build: str = ""
    build_number: int | None = None
    timestamp: int | float | None = None
    indexed_timestamp: int | float | None = None


_DATED = msgspec.json.Decoder(_Dated)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a policy must know of a package; `published` is aware. What the index does not say is None."""

    filename: str
    name: str
    version: str
    build: str
    build_number: int | None
    published: datetime | None

    @classmethod
    def of(cls, filename: Filename, fields: Mapping[str, Any]) -> Candidate:
        """The package of that name with the `fields` of its record, which say what it is, if there is one."""
        when = published(fields.get("indexed_timestamp"), fields.get("timestamp"))
        name, version, build = (
            value if isinstance(value := fields.get(key), str) and value else getattr(filename, key)
            for key in ("name", "version", "build")
        )
        number = fields.get("build_number")
        is_number = isinstance(number, int) and not isinstance(number, bool)
        return cls(filename.text, name, version, build, number if is_number else None, when)


def published(indexed: object, built: object) -> datetime | None:
    """When a package appeared, from `indexed_timestamp` or `timestamp`, in seconds or milliseconds."""
    for value in (indexed, built):
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            try:
                return datetime.fromtimestamp(value / 1000 if value > _LAST_SECOND else value, UTC)
            except (ValueError, OverflowError, OSError):
                continue
    return None


class Rule:
    """One MatchSpec. Raises ValueError, with a sentence for the operator, for what is none."""

    def __init__(self, text: str) -> None:
        from rattler import MatchSpec  # noqa: PLC0415 (a large library, needed where rules are)
        from rattler.exceptions import InvalidMatchSpecError  # noqa: PLC0415

        self.text = text
        try:
            self._spec: MatchSpec = MatchSpec(text, exact_names_only=False)
        except InvalidMatchSpecError as error:
            raise ValueError(f"{text!r} is not a MatchSpec: {error}") from None
        if str(MatchSpec(_considered(self._spec), exact_names_only=False)) != str(self._spec):
            raise ValueError(
                f"{text!r} goes by more than name, version, build and build_number, which is all that rules know"
            )
        self._pattern = str(self._spec.name.normalized)
        if self._pattern.startswith("^"):
            raise ValueError(f"{text!r} has a regular expression for a name; write it with *")

    def names(self, name: str) -> bool:
        """Whether the rule is about this package name, in some version."""
        return fnmatchcase(name.lower(), self._pattern)

    def covers(self, candidate: Candidate) -> bool | None:
        """Whether the rule is about this package; None when that cannot be known."""
        from rattler import PackageRecord  # noqa: PLC0415
        from rattler.package import BuildString  # noqa: PLC0415

        if not self.names(candidate.name):
            return False
        if candidate.build_number is None and self._spec.build_number is not None:
            return None
        try:
            record = PackageRecord(
                candidate.name,
                candidate.version,
                BuildString(candidate.build),
                candidate.build_number or 0,
                "noarch",
            )
        except Exception:  # noqa: BLE001 (rattler has an exception for each part that it cannot read)
            return None
        return self._spec.matches(record)


class ChannelPolicy:
    """The rules of one channel. Raises ConfigError with all that are none; `where` is their dotted key."""

    def __init__(self, config: ChannelPolicyConfig, *, where: str = "policy") -> None:
        problems: list[Problem] = []
        self.removed = config.removed
        self._allow = _parse(config.allow, f"{where}.allow", problems)
        self._deny = _parse(config.deny, f"{where}.deny", problems)
        self._allow_anyway = _parse(config.allow_anyway, f"{where}.allow-anyway", problems)
        self._in_time = Policy(min_age_s=config.min_age_s, freeze_at=config.freeze_at)
        if problems:
            raise ConfigError(problems)

    @cached_property
    def is_open(self) -> bool:
        """True when no listed package can ever be hidden, so nobody need ask."""
        return not (self._allow or self._deny) and self._in_time.is_open

    def judge(self, candidate: Candidate, now: datetime) -> Verdict:
        """Whether the package is shown and served at `now`."""
        for rule in self._deny:
            if rule.covers(candidate) is not False:
                reason = f"{candidate.filename} is denied on this channel: the deny rule {rule.text} covers it"
                return Verdict(allowed=False, reason=f"{reason}; ask the operator to change the rule", rule="deny")
        if self._allow and not any(rule.covers(candidate) for rule in self._allow):
            reason = f"{candidate.filename} is not on the allow list of this channel; ask the operator to add it"
            return Verdict(allowed=False, reason=reason, rule="allow")
        if any(rule.covers(candidate) for rule in self._allow_anyway):
            return Verdict(allowed=True, rule="allow-anyway")
        subject = self._in_time.about(candidate.name)
        return subject.judge(candidate.version, candidate.filename, candidate.published, now)

    def narrow(self, repodata: Repodata, now: float) -> float | None:
        """Take the records out of `repodata` that are not shown; when, if ever, that changes by the clock alone.

        `now` and the result are in seconds since the epoch.
        """
        moment = datetime.fromtimestamp(now, UTC)
        verdicts: list[Verdict] = []
        for name, lines in list(repodata.lines.items()):
            kept = []
            for line in lines:
                verdict = self.judge(_candidate(name, line.key, line.raw), moment)
                if verdict.allowed:
                    kept.append(line)
                elif verdict.flips_at is not None:
                    verdicts.append(verdict)
            if kept:
                repodata.lines[name] = kept
            else:
                del repodata.lines[name]
        flips_at = next_flip(verdicts)
        return flips_at.timestamp() if flips_at else None


def _candidate(name: str, key: str, raw: msgspec.Raw) -> Candidate:
    try:
        dated = _DATED.decode(raw)
    except msgspec.ValidationError:  # a field of another type: then nothing is known of the package but its name
        return Candidate(key, name, "", "", None, None)
    when = published(dated.indexed_timestamp, dated.timestamp)
    return Candidate(key, name, dated.version, dated.build, dated.build_number, when)


def _considered(spec: MatchSpec) -> str:
    """The part of a rule that `Rule.covers` goes by."""
    parts = {"version": spec.version, "build": spec.build, "build_number": spec.build_number}
    conditions = ", ".join(f"{key}={str(value)!r}" for key, value in parts.items() if value is not None)
    return f"{spec.name.normalized}[{conditions}]" if conditions else str(spec.name.normalized)


def _parse(texts: Iterable[str], where: str, problems: list[Problem]) -> tuple[Rule, ...]:
    rules = []
    for text in texts:
        try:
            rules.append(Rule(text))
        except ValueError as error:
            problems.append(Problem(where, str(error)))
    return tuple(rules)
