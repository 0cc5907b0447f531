"""Which files of a project an index shows and serves: a pure decision on frozen data.

Rules name projects by pattern and, optionally, versions by specifier. They are asked in this order, the first
that speaks wins: deny, allow, allow-anyway, freeze, min-age. So a waiver (allow-anyway) lifts the two rules about
time and nothing else: it never brings back a denied file, nor one outside the allow list. Whatever cannot be known
(a version that cannot be read, an upload time upstream does not give) counts against the file.

Nothing here reads a clock, a page or the configuration file: `now` comes in, times are aware, verdicts go out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envproxy.tables import PolicyConfig

RuleKind = Literal["", "deny", "allow", "allow-anyway", "freeze", "min-age", "removed", "quarantined"]
Gone = Literal["removed", "quarantined"]

_RULE = re.compile(r"(?P<pattern>[A-Za-z0-9._*?-]+)\s*(?P<specifier>.*)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern on the normalised name (PEP 503; `*` and `?` as in fnmatch) and the versions it is about."""

    pattern: str
    specifier: SpecifierSet | None = None

    def __str__(self) -> str:
        return f"{self.pattern}{self.specifier or ''}"

    def names(self, project: str) -> bool:
        """Whether the rule is about this project, in some version. `project` is normalised."""
        return fnmatchcase(project, self.pattern)

    def covers(self, version: Version | None) -> bool | None:
        """Whether the rule is about this version (PEP 440, pre-releases count); None when that cannot be known."""
        if self.specifier is None:
            return True
        return None if version is None else self.specifier.contains(version, prereleases=True)


def parse_rule(text: str) -> Rule:
    """Read `evil-*`, `urgent-fix==1.2.3` or `numpy>=2,<3`. Raises ValueError, with a sentence for the operator."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rule: write a project name, with * or ? as wildcards, then versions")
    pattern, versions = canonicalize_name(match["pattern"]), match["specifier"]
    if not versions:
        return Rule(pattern)
    try:
        return Rule(pattern, SpecifierSet(versions))
    except InvalidSpecifier:
        raise ValueError(
            f"{text!r} is not a rule: {versions!r} is no version specifier; write it like ==1.2.3 or >=2,<3"
        ) from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a file is shown and served, the sentence that says why not, and until when this holds.

    `rule` is the kind of rule that decided ("" when none had anything to say), a closed set fit for a metric.
    `flips_at` is when the clock alone changes `allowed`; None when it never does.
    """

    allowed: bool
    reason: str = ""
    rule: RuleKind = ""
    flips_at: datetime | None = None


_OPEN = Verdict(allowed=True)


class DatedFile(Protocol):
    """What `explain` needs to know of a file."""

    @property
    def filename(self) -> str:
        """As in the page."""

    @property
    def version(self) -> str | None:
        """None when the file name tells none."""

    @property
    def upload_time(self) -> datetime | None:
        """Upstream's own, aware (PEP 700); None when it gives none."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one index. `removed` and `quarantined` are about files that upstream no longer lists."""

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    allow_anyway: tuple[Rule, ...] = ()
    min_age_s: int = 0
    freeze_at: datetime | None = None
    removed: str = "keep"
    quarantined: str = "refuse"

    @classmethod
    def from_config(cls, config: PolicyConfig, *, where: str = "policy") -> Self:
        """Parse every rule. Raises ConfigError with all that are none; `where` is the dotted key of `config`."""
        problems: list[Problem] = []
        policy = cls(
            allow=_parse_rules(config.allow, f"{where}.allow", problems),
            deny=_parse_rules(config.deny, f"{where}.deny", problems),
            allow_anyway=_parse_rules(config.allow_anyway, f"{where}.allow-anyway", problems),
            min_age_s=config.min_age_s,
            freeze_at=config.freeze_at,
            removed=config.removed,
            quarantined=config.quarantined,
        )
        if problems:
            raise ConfigError(problems)
        return policy

    @property
    def is_open(self) -> bool:
        """True when no file that upstream lists can ever be hidden, so nobody need ask."""
        return not (self.allow or self.deny or self.min_age_s or self.freeze_at)

    @property
    def needs_versions(self) -> bool:
        """True when some rule names versions, so a caller must find each file's version."""
        return _name_versions(self.allow, self.deny, self.allow_anyway)

    def about(self, project: str) -> ProjectPolicy:
        """The rules that concern `project` (any spelling), for judging many of its files."""
        name = canonicalize_name(project)
        return ProjectPolicy(
            project=name,
            limits=self,
            allow=_naming(self.allow, name),
            deny=_naming(self.deny, name),
            allow_anyway=_naming(self.allow_anyway, name),
        )

    def judge_name(self, project: str) -> Verdict:
        """What can be said before any file is known: a refusal here spares the upstream request."""
        return self.about(project).judge_name()

    def judge(
        self, project: str, version: str | None, filename: str, upload_time: datetime | None, now: datetime
    ) -> Verdict:
        """Judge one file. Several files of one project are judged faster through `about`."""
        return self.about(project).judge(version, filename, upload_time, now)

    def judge_gone(self, project: str, filename: str, state: Gone) -> Verdict:
        """Judge a cached file that upstream withdrew: removed from its page, or its project quarantined (PEP 792)."""
        choice = self.removed if state == "removed" else self.quarantined
        if choice == "keep":
            return _OPEN
        what = "was removed upstream" if state == "removed" else f"is withheld: upstream quarantined {project}"
        return Verdict(
            allowed=False,
            reason=f"{filename} {what}, and this index then refuses it ({state}); lock another version",
            rule=state,
        )


@dataclass(frozen=True)
class ProjectPolicy:
    """A policy narrowed to the rules that name one project; `limits` keeps the rules about time."""

    project: str
    limits: Policy
    allow: tuple[Rule, ...]
    deny: tuple[Rule, ...]
    allow_anyway: tuple[Rule, ...]

    @cached_property
    def _reads_versions(self) -> bool:
        return _name_versions(self.allow, self.deny, self.allow_anyway)

    def judge_name(self) -> Verdict:
        """Refuse the whole project: denied in every version, or on no allow list in any."""
        for rule in self.deny:
            if rule.specifier is None:
                return _denied(self.project, rule)
        if self.limits.allow and not self.allow:
            return _not_allowed(self.project)
        return _OPEN

    def judge(self, version: str | None, filename: str, upload_time: datetime | None, now: datetime) -> Verdict:
        """Judge one file of the project at `now`; `upload_time` is upstream's own (PEP 700), both aware."""
        parsed = _version(version) if self._reads_versions else None
        subject = f"{self.project} {version}" if version else filename
        for rule in self.deny:
            covers = rule.covers(parsed)
            if covers is not False:
                return _denied(subject, rule, unreadable=covers is None)
        if self.limits.allow and not any(rule.covers(parsed) for rule in self.allow):
            return _not_allowed(subject)
        if any(rule.covers(parsed) for rule in self.allow_anyway):
            return Verdict(allowed=True, rule="allow-anyway")
        return self._judge_time(subject, upload_time, now)

    def _judge_time(self, subject: str, upload_time: datetime | None, now: datetime) -> Verdict:
        freeze_at, min_age_s = self.limits.freeze_at, self.limits.min_age_s
        if not (freeze_at or min_age_s):
            return _OPEN
        if upload_time is None:
            return _undated(subject, "freeze" if freeze_at else "min-age")
        if freeze_at and upload_time > freeze_at:
            return _frozen(subject, upload_time, freeze_at)
        visible_from = _later(upload_time, min_age_s)
        if visible_from is None or now < visible_from:
            return _too_young(subject, upload_time, min_age_s, visible_from, now)
        return _OPEN


def next_flip(verdicts: Iterable[Verdict]) -> datetime | None:
    """The earliest moment at which one of the verdicts changes: no page made of them may stay fresh beyond it."""
    return min((verdict.flips_at for verdict in verdicts if verdict.flips_at is not None), default=None)


def explain(policy: Policy, project: str, files: Iterable[DatedFile], now: datetime) -> list[tuple[str, Verdict]]:
    """Judge every file of a project, in the order given: the dry run behind `envproxy policy INDEX PROJECT`."""
    rules = policy.about(project)
    return [(file.filename, rules.judge(file.version, file.filename, file.upload_time, now)) for file in files]


def _parse_rules(texts: Iterable[str], where: str, problems: list[Problem]) -> tuple[Rule, ...]:
    rules = []
    for text in texts:
        try:
            rules.append(parse_rule(text))
        except ValueError as error:
            problems.append(Problem(where, str(error)))
    return tuple(rules)


def _naming(rules: tuple[Rule, ...], project: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.names(project))


def _name_versions(*lists: tuple[Rule, ...]) -> bool:
    return any(rule.specifier is not None for rules in lists for rule in rules)


def _version(text: str | None) -> Version | None:
    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None


def _denied(subject: str, rule: Rule, *, unreadable: bool = False) -> Verdict:
    why = f"its version cannot be read and the deny rule {rule}" if unreadable else f"the deny rule {rule}"
    reason = f"{subject} is denied on this index: {why} covers it; ask the operator to change the rule"
    return Verdict(allowed=False, reason=reason, rule="deny")


def _not_allowed(subject: str) -> Verdict:
    reason = f"{subject} is not on the allow list of this index; ask the operator to add it"
    return Verdict(allowed=False, reason=reason, rule="allow")


def _undated(subject: str, rule: RuleKind) -> Verdict:
    reason = f"{subject} has no upload time upstream, so {rule} cannot be checked; ask the operator for a waiver"
    return Verdict(allowed=False, reason=f"{reason} (allow-anyway)", rule=rule)


def _frozen(subject: str, upload_time: datetime, freeze_at: datetime) -> Verdict:
    return Verdict(
        allowed=False,
        reason=f"{subject} was published {_minute(upload_time)}, after this index froze at {_minute(freeze_at)} "
        "(freeze); take an older version or ask the operator for a waiver (allow-anyway)",
        rule="freeze",
    )


def _too_young(
    subject: str, upload_time: datetime, min_age_s: int, visible_from: datetime | None, now: datetime
) -> Verdict:
    visible = "never visible" if visible_from is None else f"visible from {_minute(visible_from, up=True)}"
    return Verdict(
        allowed=False,
        reason=f"{subject} was published {_span(now - upload_time)} ago; "
        f"this index waits {_span(timedelta(seconds=min_age_s))} (min-age), {visible}",
        rule="min-age",
        flips_at=visible_from,
    )


def _later(moment: datetime, seconds: int) -> datetime | None:
    """None when the sum lies beyond the calendar: upstream may claim any year up to 9999."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _minute(moment: datetime, *, up: bool = False) -> str:
    """`2026-11-27 08:00 UTC`; rounded up where "from" must not promise too early."""
    whole = moment.astimezone(UTC).replace(second=0, microsecond=0)
    if up and whole < moment:
        whole = _later(whole, 60) or whole
    return f"{whole:%Y-%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    """The two largest units that are not zero: `7 days`, `2 days 3 hours`, `40 seconds`."""
    left, parts = max(0, int(length.total_seconds())), []
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts[:2]) or "0 seconds"
