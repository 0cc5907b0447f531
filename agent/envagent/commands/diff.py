"""`envagent diff`: what is different between two locks, package by package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.commands.locks import lock_of
from envagent.lock.canonical import package_document
from envagent.lock.diff import LockDiff, TargetDiff, diff
from envproxy.commands.output import print_json, print_lines, say

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from envagent.lock.model import Interpreter, Package


def run(args: Namespace) -> int:
    """Show it; that there is a difference is no failure."""
    found = diff(lock_of(args.old, args), lock_of(args.new, args))
    if args.json:
        print_json(_document(found))
    elif not found:
        say("the locks are equal")
    else:
        print_lines(lines_of(found))
    return 0


def lines_of(found: LockDiff) -> Iterator[str]:
    """The differences as a person reads them."""
    yield from (f"+ environment {name}" for name in found.added)
    yield from (f"- environment {name}" for name in found.removed)
    yield from (f"~ environment {name}: asked for otherwise" for name in found.requests)
    for target in found.targets:
        yield f"{target.environment} on {target.target}:"
        yield from (f"  {line}" for line in _target_lines(target))


def _target_lines(target: TargetDiff) -> Iterator[str]:
    if target.interpreters:
        yield "~ interpreter " + " -> ".join(map(_said, target.interpreters))
    yield from (f"+ {package.name} {package.version} ({package.kind})" for package in target.added)
    yield from (f"- {package.name} {package.version} ({package.kind})" for package in target.removed)
    for before, after in target.changed:
        yield f"~ {before.name} {_change(before, after)}"


def _change(before: Package, after: Package) -> str:
    if before.version != after.version:
        return f"{before.version} -> {after.version}"
    if before.filename != after.filename:
        return f"{before.filename} -> {after.filename}"
    return f"{before.version}: other bytes" if before.sha256 != after.sha256 else f"{before.version}: other metadata"


def _said(interpreter: Interpreter | None) -> str:
    return f"{interpreter.kind} {interpreter.name or interpreter.version}" if interpreter else "none"


def _document(found: LockDiff) -> dict[str, object]:
    return {
        "added": found.added,
        "removed": found.removed,
        "requests": found.requests,
        "targets": [_target_document(target) for target in found.targets],
    }


def _target_document(target: TargetDiff) -> dict[str, object]:
    return {
        "environment": target.environment,
        "target": target.target,
        "interpreters": [_said(each) for each in target.interpreters] if target.interpreters else None,
        "added": [package_document(package) for package in target.added],
        "removed": [package_document(package) for package in target.removed],
        "changed": [[package_document(old), package_document(new)] for old, new in target.changed],
    }
