"""What a tree takes up, in a few words: trees that claim different things hold no path in common.

A claim is the first name inside site-packages, the first two names anywhere else in the prefix (three below lib,
where Python's own directory is beside everybody's libraries). Everything in a tree is one of its claims or lies below
one. So of hundreds of trees only those that claim the same need to be looked at path by path. Pure.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def claim_of(path: str) -> str:
    """The claim that a path is, or lies below; a path with fewer names than that is its own."""
    names = path.split("/", 4)
    if names[0] != "lib":
        return "/".join(names[:2])
    return "/".join(names[: 4 if len(names) > 2 and names[2] == "site-packages" else 3])


def above(claim: str) -> Iterator[str]:
    """The directories that hold it, from the inside out."""
    while claim := claim.rpartition("/")[0]:
        yield claim


def claims_of(directories: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of a tree of these directories and other paths, sorted.

    A directory above all claims is none itself, for many trees have it, unless there is nothing in it.
    """
    claims = set(map(claim_of, others))
    between = set(chain.from_iterable(map(above, claims)))
    for directory in sorted(directories, reverse=True):  # what is in it comes first
        if directory not in between:
            claims.add(claim := claim_of(directory))
            between.update(above(claim))
    return sorted(claims)


def neighbours(claims: Sequence[Sequence[str]]) -> list[int]:
    """The indexes of trees that may hold a path that another holds, given what each claims."""
    holders = Counter(chain.from_iterable(claims))
    if not holders.keys().isdisjoint(chain.from_iterable(map(above, holders))):
        return list(range(len(claims)))  # what is a directory of one is a file of another, or empty: seldom
    shared = {claim for claim, count in holders.items() if count > 1}
    return [index for index, some in enumerate(claims) if not shared.isdisjoint(some)]
