"""What an index shows and serves: rules, their order, and what the clock changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.errors import ConfigError
from envproxy.policy import Policy, Verdict, explain, next_flip, parse_rule
from envproxy.tables import PolicyConfig

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)
DAY_S = 86400


def policy(
    *,
    allow: str = "",
    deny: str = "",
    allow_anyway: str = "",
    min_age_s: int = 0,
    freeze_at: datetime | None = None,
    removed: str = "keep",
    quarantined: str = "refuse",
) -> Policy:
    return Policy.from_config(
        PolicyConfig(
            allow=tuple(allow.split()),
            deny=tuple(deny.split()),
            allow_anyway=tuple(allow_anyway.split()),
            min_age_s=min_age_s,
            freeze_at=freeze_at,
            removed=removed,
            quarantined=quarantined,
        )
    )


def judge(rules: Policy, requirement: str, *, age_s: int | None = 365 * DAY_S, now: datetime = NOW) -> Verdict:
    """Judge `project version` uploaded `age_s` before NOW."""
    project, _, version = requirement.partition(" ")
    uploaded = None if age_s is None else NOW - timedelta(seconds=age_s)
    return rules.judge(project, version or None, f"{project}.whl", uploaded, now)


# --- rules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("evil-*", "evil-*"),
        ("urgent-fix==1.2.3", "urgent-fix==1.2.3"),
        ("numpy>=2,<3", "numpy<3,>=2"),
        (" Zope.Interface == 5 ", "zope-interface==5"),
        ("corp?tool~=1.4", "corp?tool~=1.4"),
        ("*", "*"),
    ],
)
def test_a_rule_is_a_normalised_pattern_and_a_specifier(text: str, shown: str) -> None:
    assert str(parse_rule(text)) == shown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is not a rule: write a project name"),
        ("==1.0", "'==1.0' is not a rule: write a project name"),
        ("numpy 2", "'2' is no version specifier; write it like ==1.2.3 or >=2,<3"),
        ("numpy[extra]", "'[extra]' is no version specifier"),
        ("numpy>=two", "'>=two' is no version specifier"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_rule(text)
    assert complaint in str(refusal.value)


def test_every_bad_rule_of_a_configuration_is_reported_with_its_key() -> None:
    bad = PolicyConfig(allow=("fine", "[]"), deny=("numpy 2",), allow_anyway=("==1",))
    with pytest.raises(ConfigError) as refusal:
        Policy.from_config(bad, where="pypi.indexes.main.policy")
    assert [problem.where for problem in refusal.value.problems] == [
        "pypi.indexes.main.policy.allow",
        "pypi.indexes.main.policy.deny",
        "pypi.indexes.main.policy.allow-anyway",
    ]


@pytest.mark.parametrize(
    ("rules", "is_open", "needs_versions"),
    [
        (policy(), True, False),
        (policy(allow_anyway="numpy==1"), True, True),
        (policy(deny="evil-*"), False, False),
        (policy(deny="evil<2"), False, True),
        (policy(allow="numpy"), False, False),
        (policy(min_age_s=1), False, False),
        (policy(freeze_at=NOW), False, False),
    ],
)
def test_a_policy_knows_whether_it_can_hide_anything_and_what_it_must_know(
    rules: Policy, is_open: bool, needs_versions: bool
) -> None:
    assert (rules.is_open, rules.needs_versions) == (is_open, needs_versions)


# --- deny and allow -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "requirement", "decided_by"),
    [
        (policy(deny="evil-*"), "evil-lib 1.0", "deny"),
        (policy(deny="evil-*"), "Evil_Lib 1.0", "deny"),
        (policy(deny="evil-*"), "evil 1.0", ""),
        (policy(deny="numpy>=2,<3"), "numpy 2.1", "deny"),
        (policy(deny="numpy>=2,<3"), "numpy 3.0", ""),
        (policy(deny="numpy>=2"), "numpy 3.0rc1", "deny"),
        (policy(deny="numpy==1.0"), "numpy 1.0+local", "deny"),
        (policy(deny="numpy>=2"), "numpy 2004d-final-x", "deny"),
        (policy(deny="numpy>=2"), "numpy", "deny"),
        (policy(deny="numpy>=2"), "scipy", ""),
        (policy(allow="numpy corp-*"), "scipy 1.0", "allow"),
        (policy(allow="numpy corp-*"), "corp-tool 1.0", ""),
        (policy(allow="numpy>=2"), "numpy 1.9", "allow"),
        (policy(allow="numpy>=2"), "numpy", "allow"),
        (policy(allow="numpy>=2 numpy==1.9"), "numpy 1.9", ""),
        (policy(allow="*", deny="numpy"), "numpy 1.0", "deny"),
        (policy(allow_anyway="numpy", deny="numpy"), "numpy 1.0", "deny"),
        (policy(allow_anyway="scipy", allow="numpy"), "scipy 1.0", "allow"),
    ],
)
def test_deny_comes_before_allow_and_no_waiver_lifts_either(rules: Policy, requirement: str, decided_by: str) -> None:
    verdict = judge(rules, requirement)
    assert (verdict.allowed, verdict.rule) == (decided_by == "", decided_by)


@pytest.mark.parametrize(
    ("rules", "project", "decided_by"),
    [
        (policy(deny="evil-*"), "Evil_Lib", "deny"),
        (policy(deny="numpy<2"), "numpy", ""),
        (policy(allow="numpy>=2"), "numpy", ""),
        (policy(allow="numpy>=2"), "scipy", "allow"),
        (policy(min_age_s=DAY_S), "scipy", ""),
    ],
)
def test_a_name_is_refused_before_any_file_is_known_only_if_no_version_could_pass(
    rules: Policy, project: str, decided_by: str
) -> None:
    verdict = rules.judge_name(project)
    assert (verdict.allowed, verdict.rule) == (decided_by == "", decided_by)


# --- age and freeze -------------------------------------------------------------------------------------


def test_a_file_younger_than_the_minimum_age_waits_and_says_until_when() -> None:
    verdict = judge(policy(min_age_s=7 * DAY_S), "urllib3 2.9.0", age_s=2 * DAY_S)
    assert verdict == Verdict(
        allowed=False,
        reason="urllib3 2.9.0 was published 2 days ago; this index waits 7 days (min-age), "
        "visible from 2026-11-27 07:30 UTC",
        rule="min-age",
        flips_at=datetime(2026, 11, 27, 7, 30, tzinfo=UTC),
    )


def test_the_moment_named_is_never_too_early() -> None:
    verdict = judge(policy(min_age_s=DAY_S), "urllib3 2.9.0", age_s=3 * 3600 + 20 * 60 - 1)
    assert verdict.reason == (
        "urllib3 2.9.0 was published 3 hours 19 minutes ago; this index waits 1 day (min-age), "
        "visible from 2026-11-23 04:11 UTC"
    )
    assert verdict.flips_at == datetime(2026, 11, 23, 4, 10, 1, tzinfo=UTC)


def test_a_file_of_exactly_the_minimum_age_is_shown() -> None:
    assert judge(policy(min_age_s=DAY_S), "urllib3 2.9.0", age_s=DAY_S) == Verdict(allowed=True)


def test_a_freeze_hides_what_was_uploaded_after_it_for_good() -> None:
    frozen = policy(freeze_at=NOW - timedelta(days=10))
    verdict = judge(frozen, "urllib3 2.9.0", age_s=2 * DAY_S)
    assert (verdict.allowed, verdict.rule, verdict.flips_at) == (False, "freeze", None)
    assert "was published 2026-11-20 07:30 UTC, after this index froze at 2026-11-12 07:30 UTC" in verdict.reason
    assert judge(frozen, "urllib3 2.9.0", age_s=10 * DAY_S).allowed


@pytest.mark.parametrize(
    ("rules", "decided_by"),
    [(policy(min_age_s=1), "min-age"), (policy(freeze_at=NOW), "freeze"), (policy(deny="other"), "")],
)
def test_without_an_upload_time_a_rule_about_time_refuses(rules: Policy, decided_by: str) -> None:
    verdict = judge(rules, "urllib3 2.9.0", age_s=None)
    assert (verdict.allowed, verdict.rule) == (decided_by == "", decided_by)
    assert ("has no upload time upstream" in verdict.reason) is bool(decided_by)


def test_an_upload_time_at_the_end_of_the_calendar_never_becomes_visible() -> None:
    rules = policy(min_age_s=7 * DAY_S)
    verdict = rules.judge("urllib3", "2.9.0", "urllib3.whl", datetime.max.replace(tzinfo=UTC), NOW)
    assert (verdict.allowed, verdict.flips_at) == (False, None)
    assert "never visible" in verdict.reason


@pytest.mark.parametrize(
    ("waiver", "allowed"),
    [("urgent-fix", True), ("urgent-fix==1.2.3", True), ("urgent-fix==1.2.4", False), ("urgent-*", True)],
)
def test_a_waiver_lifts_age_and_freeze(waiver: str, allowed: bool) -> None:
    rules = policy(min_age_s=DAY_S, freeze_at=NOW - timedelta(days=10), allow_anyway=waiver)
    for age_s in (60, None):
        verdict = judge(rules, "urgent-fix 1.2.3", age_s=age_s)
        assert verdict.allowed is allowed
        assert (verdict.rule == "allow-anyway") is allowed


def test_a_waiver_for_a_version_does_not_cover_a_file_whose_version_cannot_be_read() -> None:
    assert not judge(policy(min_age_s=DAY_S, allow_anyway="urgent-fix==1.2.3"), "urgent-fix", age_s=60).allowed


# --- what upstream withdrew -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["removed", "quarantined"])
def test_files_that_upstream_withdrew_are_kept_or_refused_as_configured(state: str) -> None:
    keep = policy(removed="keep", quarantined="keep")
    refuse = policy(removed="refuse", quarantined="refuse")
    assert keep.judge_gone("six", "six-1.0.tar.gz", state).allowed
    verdict = refuse.judge_gone("six", "six-1.0.tar.gz", state)
    assert (verdict.allowed, verdict.rule) == (False, state)
    assert verdict.reason.startswith("six-1.0.tar.gz ")


# --- many files at once ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    filename: str
    version: str | None
    upload_time: datetime | None


def test_the_dry_run_judges_every_file_in_order() -> None:
    old, new = NOW - timedelta(days=30), NOW - timedelta(days=1)
    files = [File("six-1.0.tar.gz", "1.0", old), File("six-2.0.tar.gz", "2.0", new), File("six-x.zip", None, old)]
    verdicts = explain(policy(min_age_s=7 * DAY_S, deny="six<1"), "Six", files, NOW)
    assert [(name, verdict.allowed, verdict.rule) for name, verdict in verdicts] == [
        ("six-1.0.tar.gz", True, ""),
        ("six-2.0.tar.gz", False, "min-age"),
        ("six-x.zip", False, "deny"),
    ]
    assert next_flip(verdict for _, verdict in verdicts) == new + timedelta(days=7)


def test_the_next_flip_is_the_earliest_and_none_where_the_clock_changes_nothing() -> None:
    soon, later = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    waiting = [Verdict(allowed=False, flips_at=later), Verdict(allowed=True), Verdict(allowed=False, flips_at=soon)]
    assert next_flip(waiting) == soon
    assert next_flip([Verdict(allowed=True)]) is None


# --- properties -----------------------------------------------------------------------------------------

_rules = st.lists(
    st.sampled_from(["numpy", "num*", "*", "scipy", "numpy>=2", "numpy<2", "numpy==2.0", "scipy!=1"]), max_size=3
).map(lambda texts: tuple(parse_rule(text) for text in texts))
_moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_policies = st.builds(
    Policy,
    allow=_rules,
    deny=_rules,
    allow_anyway=_rules,
    min_age_s=st.integers(0, 400 * DAY_S),
    freeze_at=st.none() | _moments,
)
_files = st.tuples(
    st.sampled_from(["numpy", "scipy"]),
    st.none() | st.sampled_from(["1.0", "2.0", "2.0rc1", "3.1", "not-a-version"]),
    st.just("file.whl"),
    st.none() | _moments,
)


@given(_policies, _files, _moments)
def test_a_waiver_never_brings_back_what_deny_or_allow_refuse(rules: Policy, file: tuple, now: datetime) -> None:
    timeless = replace(rules, allow_anyway=(), min_age_s=0, freeze_at=None)
    if not timeless.judge(*file, now).allowed:
        assert not rules.judge(*file, now).allowed


@given(_policies, _files, _moments, st.data())
def test_a_verdict_holds_until_the_moment_it_names_and_changes_there(
    rules: Policy, file: tuple, now: datetime, data: st.DataObject
) -> None:
    verdict = rules.judge(*file, now)
    horizon = verdict.flips_at or datetime(2040, 1, 1, tzinfo=UTC)
    later = now + data.draw(st.floats(0, 1, exclude_max=True)) * (horizon - now)
    if later < horizon:
        assert replace(rules.judge(*file, later), reason="") == replace(verdict, reason="")
    if verdict.flips_at is not None:
        assert verdict.flips_at > now
        assert rules.judge(*file, verdict.flips_at).allowed is not verdict.allowed


@given(_policies, _files, _moments, _moments)
def test_what_was_shown_once_stays_shown(rules: Policy, file: tuple, one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert rules.judge(*file, later).allowed >= rules.judge(*file, earlier).allowed


@given(_policies, _files, _moments)
def test_an_open_policy_hides_nothing_and_a_refused_name_has_no_file(
    rules: Policy, file: tuple, now: datetime
) -> None:
    verdict = rules.judge(*file, now)
    assert verdict.allowed or not rules.is_open
    assert rules.judge_name(file[0]).allowed or not verdict.allowed
    assert bool(verdict.reason) is not verdict.allowed
