"""What all documents have in common: links lead somewhere, and commands and configurations are such as are taken."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from envagent.table import parser as agent_parser
from envproxy.cli import parser as proxy_parser
from envproxy.config import load
from envproxy.tables import Config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "deploy/helm/envmesh/README.md"])
SECTIONS = {field.name for field in fields(Config)}
PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {"envproxy": proxy_parser, "envagent": agent_parser}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))


@each_document
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    dead = [link for link in links(document) if not leads_somewhere(document, link)]
    assert dead == []


@each_document
def test_every_command_line_is_one_that_its_command_takes(document: Path) -> None:
    for words in typed(document):
        try:
            PARSERS[words[0]]().parse_args(words[1:])
        except SystemExit as refused:
            pytest.fail(f"{document.name}: {shlex.join(words)} ends with {refused.code}")


@each_document
def test_every_configuration_of_the_proxy_is_accepted(document: Path, tmp_path: Path) -> None:
    file = tmp_path / "envproxy.toml"
    (tmp_path / "corp-ca.pem").touch()  # the certificates of an example, for which it is enough to be there
    for text in configurations(document):
        file.write_text(text)
        load(file, environ={name: f"secret of {name}" for name in re.findall(r'"env:(\w+)"', text)})


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        reached.add(document)
        targets = {(document.parent / link.partition("#")[0]).resolve() for link in links(document)}
        ahead += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert [document.name for document in DOCUMENTS if document not in reached] == []


def configurations(document: Path) -> list[str]:
    """The TOML of a document that has any table of the proxy's."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for text in blocks if tomllib.loads(text).keys() & SECTIONS]


def links(document: Path) -> list[str]:
    """Where a document points to within the project."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    return [link for link in found if not link.startswith(("http://", "https://", "mailto:"))]


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The names that headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def typed(document: Path) -> list[list[str]]:
    """The calls of our own commands among what a document tells to type."""
    consoles = re.findall(r"^```console\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for text in consoles for line in re.findall(r"^\$ ((?:\\\n|.)*)$", text, re.MULTILINE)]
    calls = [shlex.split(line.replace("\\\n", " ").rstrip("&"), comments=True) for line in lines]
    return [words for words in calls if words and words[0] in PARSERS]


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
