"""The policy of a channel: MatchSpecs, and times from the index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from envproxy.conda.channel import parse_filename
from envproxy.conda.policy import Candidate, ChannelPolicy, published
from envproxy.errors import ConfigError
from envproxy.tables import ChannelPolicyConfig

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def verdict(config: ChannelPolicyConfig, filename: str, **fields: object) -> tuple[bool, str]:
    parsed = parse_filename(filename)
    assert parsed is not None
    found = ChannelPolicy(config).judge(Candidate.of(parsed, fields), NOW)
    return found.allowed, found.rule


@pytest.mark.parametrize(
    ("rule", "filename", "denied"),
    [
        ("numpy", "numpy-2.0-0.conda", True),
        ("numpy >=2", "numpy-1.26-0.conda", False),
        ("numpy >=2", "numpy-2.0-0.conda", True),
        ("num*", "numpy-2.0-0.conda", True),
        ("numpy=*=cuda*", "numpy-2.0-cuda12_0.conda", True),
        ("numpy=*=cuda*", "numpy-2.0-cpu_0.conda", False),
        ("evil-*", "numpy-2.0-0.conda", False),
        ("numpy >=2", "numpy-~~-0.conda", True),
    ],
    ids=str,
)
def test_a_deny_rule_is_a_match_spec(rule: str, filename: str, denied: bool) -> None:
    assert verdict(ChannelPolicyConfig(deny=(rule,)), filename)[0] is not denied


@pytest.mark.parametrize(
    ("fields", "denied"),
    [({"build_number": 3}, True), ({"build_number": 2}, False), ({}, True), ({"build_number": "3"}, True)],
    ids=str,
)
def test_a_rule_on_build_numbers_goes_by_the_record_and_not_by_the_build(
    fields: dict[str, object], denied: bool
) -> None:
    config = ChannelPolicyConfig(deny=('numpy[build_number=">=3"]',))
    assert verdict(config, "numpy-2.0-py312_1.conda", **fields)[0] is not denied


def test_a_waiver_for_a_build_number_is_none_for_a_package_that_does_not_say_its_own() -> None:
    config = ChannelPolicyConfig(min_age_s=60, allow_anyway=('numpy[build_number="3"]',))
    assert verdict(config, "numpy-2.0-py312_3.conda") == (False, "min-age")
    assert verdict(config, "numpy-2.0-py312_3.conda", build_number=3) == (True, "allow-anyway")


@pytest.mark.parametrize(
    "rule",
    [
        "numpy[license=MIT]",
        f"numpy[sha256={'0' * 64}]",
        f"numpy[md5={'0' * 32}]",
        "numpy >=2[subdir=linux-64]",
        "lab::numpy",
        'numpy[fn="numpy-2.0-0.conda"]',
        'numpy[track_features="x"]',
        "^num.*$",
    ],
)
def test_a_rule_that_would_never_apply_is_refused_at_the_start(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"goes by more than name|regular expression"):
        ChannelPolicy(ChannelPolicyConfig(deny=(rule,)))


@pytest.mark.parametrize(
    "rule", ["numpy >=2,<3|4 ^h.*$", "numpy * h*", "numpy[build=h*]", "numpy=1.2", "num* !=1.2", "*"]
)
def test_a_rule_may_be_written_in_any_way_that_conda_has(rule: str) -> None:
    assert not ChannelPolicy(ChannelPolicyConfig(deny=(rule,))).is_open


def test_an_allow_list_refuses_everything_else() -> None:
    config = ChannelPolicyConfig(allow=("numpy", "python"))
    assert verdict(config, "numpy-2.0-0.conda") == (True, "")
    assert verdict(config, "scipy-1.0-0.conda") == (False, "allow")


def test_age_counts_from_the_index_and_only_then_from_the_builder() -> None:
    config = ChannelPolicyConfig(min_age_s=86_400)
    old, young = (NOW - timedelta(days=9)).timestamp() * 1000, (NOW - timedelta(hours=1)).timestamp() * 1000
    assert verdict(config, "a-1-0.conda", indexed_timestamp=young, timestamp=old) == (False, "min-age")
    assert verdict(config, "a-1-0.conda", indexed_timestamp=old, timestamp=young) == (True, "")
    assert verdict(config, "a-1-0.conda", timestamp=old) == (True, "")


def test_a_package_without_a_date_fails_closed_unless_it_is_waived() -> None:
    assert verdict(ChannelPolicyConfig(min_age_s=60), "a-1-0.conda") == (False, "min-age")
    assert verdict(ChannelPolicyConfig(min_age_s=60, allow_anyway=("a",)), "a-1-0.conda") == (True, "allow-anyway")


def test_rules_that_are_none_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        ChannelPolicy(
            ChannelPolicyConfig(deny=(">=2", "fine"), allow=("numpy>=2,,",)), where="conda.channels.x.policy"
        )
    assert [problem.where for problem in caught.value.problems] == [
        "conda.channels.x.policy.allow",
        "conda.channels.x.policy.deny",
    ]


def test_a_policy_without_rules_is_open() -> None:
    assert ChannelPolicy(ChannelPolicyConfig()).is_open
    assert not ChannelPolicy(ChannelPolicyConfig(min_age_s=1)).is_open


@pytest.mark.parametrize(
    ("indexed", "built", "expected"),
    [
        (1_700_000_000_000, None, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (None, 1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (0, 0, None),
        (True, "text", None),
        (1e300, 1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ],
)
def test_times_are_seconds_or_milliseconds(indexed: object, built: object, expected: datetime | None) -> None:
    assert published(indexed, built) == expected
