"""Ready-made pages in memory: what stays when there are too many, and what an upload takes away."""

from __future__ import annotations

import random

import pytest

from envproxy.engine.freshness import Span
from envproxy.pypi.render import Encoding, Format, Rendition
from envproxy.pypi.shelf import ENTRY_BYTES, Ready, Shelf

SPAN = Span(600.0, 900.0)


def ready(nbytes: int = 0) -> Ready:
    """A page whose smallest form has at least that many bytes; without any, an absence."""
    if not nbytes:
        return Ready((), None, SPAN, 0.0)
    names = random.Random(1).randbytes(nbytes).hex()
    page = f'{{"meta":{{"api-version":"1.4"}},"name":"{names}","files":[]}}'
    return Ready(("pypi", "1"), "pypi", SPAN, 0.0, rendition=Rendition(page.encode()))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(limit_bytes=10_000)


def test_what_was_used_longest_ago_goes_once_the_budget_is_passed(shelf: Shelf) -> None:
    first, second, third = ready(3000), ready(3000), ready(3000)
    shelf.put("main", "a", first)
    shelf.put("main", "b", second)
    assert shelf.get("main", "a") is first
    shelf.put("main", "c", third)
    assert [shelf.get("main", name) for name in "abc"] == [first, None, third]
    assert shelf.nbytes == first.nbytes + third.nbytes


def test_a_page_larger_than_the_budget_stays_until_the_next_one(shelf: Shelf) -> None:
    large, small = ready(20_000), ready()
    shelf.put("main", "large", large)
    assert shelf.get("main", "large") is large
    shelf.put("main", "small", small)
    assert (len(shelf), shelf.get("main", "small")) == (1, small)
    assert shelf.nbytes == ENTRY_BYTES


def test_a_page_weighs_more_with_each_form_that_is_made_of_it(shelf: Shelf) -> None:
    page = ready(1000)
    shelf.put("main", "a", page)
    before = shelf.nbytes
    assert page.rendition is not None
    plain = page.rendition.build(Format.JSON, Encoding.IDENTITY)
    shelf.put("main", "a", page)
    assert (len(shelf), shelf.nbytes) == (1, before + len(plain.body))


def test_a_project_is_forgotten_in_every_index_and_no_other_is(shelf: Shelf) -> None:
    for index, project in (("main", "a"), ("other", "a"), ("main", "b")):
        shelf.put(index, project, ready())
    edition = shelf.edition
    shelf.forget("a")
    assert [shelf.get("main", "a"), shelf.get("other", "a")] == [None, None]
    assert shelf.get("main", "b") is not None
    assert (shelf.nbytes, shelf.edition) == (ENTRY_BYTES, edition + 1)


def test_everything_can_be_forgotten(shelf: Shelf) -> None:
    shelf.put("main", "a", ready(100))
    shelf.put("main", "b", ready(100))
    shelf.forget()
    assert (len(shelf), shelf.nbytes) == (0, 0)
