"""The same lock again: answered from a note, before anything is imported that an answer does not need.

A note says which prefix a lock file led to. Its name is a digest of everything that decided it: the bytes of the
file, the environment, the target, the prefix that was named, the version of the Python that decides where a lock
names none, this envagent's version and this boot of the machine. It holds as long as the mark of the prefix and its
interpreter are the very files that they were. Whatever is unusual (a flag that is not known here, a file that cannot
be read) is no answer, and the long way is taken; so a note may be lost at any time, and says nothing that the long
way would not.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress

from envagent.places import CONFIG_VARIABLE, DATA_VARIABLE, LINK_MODE, LINK_MODE_VARIABLE, config_file, data_directory
from envproxy import __version__

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import SimpleNamespace

_VALUED = {"--env", "--target", "--prefix", "--data", "--config", "--proxy", "--link-mode"}
_SWITCHES = {"--no-proxy-fallback", "--no-bytecode", "--early"}
FLAGS = {
    "materialize": (_VALUED, _SWITCHES | {"--json"}),
    "run": (_VALUED | {"--lock"}, _SWITCHES),
}
"""The commands that are answered from notes: their flags with a value, and those without."""

PYTHON = ".".join(map(str, sys.version_info[:3]))
"""The version of the Python that runs this."""

_MARK = ".envmesh/ready.json"
_BOOT = "/proc/sys/kernel/random/boot_id"


class Question:
    """What was asked, as the long way also sees it: a lock file's bytes, and names that are empty if not given.

    An overlay is another environment than one of files, and there for those only who see its mount. `python` is the
    version for locks that name no machine.
    """

    def __init__(self, lock: bytes, *, env: str, target: str, prefix: str, link_mode: str, python: str) -> None:
        named = (env, target, prefix and os.path.abspath(prefix), link_mode, python)
        self._said = (hashlib.sha256(lock).hexdigest(), *named)

    def note(self, data: str) -> str:
        """The file below the data directory that has the answer, or will."""
        said = "\0".join([__version__, _read(_BOOT).decode(), *self._said])
        return f"{data}/answers/{hashlib.sha256(said.encode(errors='surrogateescape')).hexdigest()}"


class Answer:
    """A prefix; what `--json` prints of it; and `used`, the file whose mtime says when it was last asked for."""

    def __init__(self, prefix: str, json: str, used: str) -> None:
        self.prefix = prefix
        self.json = json
        self.used = used

    def write(self, note: str) -> None:
        """Note it. Raises OSError; what it left then goes with the notes that hold no more."""
        os.makedirs(os.path.dirname(note), exist_ok=True)
        fresh = f"{note}.{os.urandom(8).hex()}"
        with open(fresh, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join([self.prefix, self.used, self.json, *_witnesses(self.prefix)]))
        os.replace(fresh, note)


def recalled(command: str, words: Sequence[str], environ: Mapping[str, str]) -> Answer | None:
    """The answer to `envagent <command> <words>`, None where there is no note that still holds."""
    flags = flags_of(command, words)
    if "lock" not in flags or not os.path.isfile(flags["lock"]):  # a pipe can be read once
        return None
    names = {name: flags.get(name, "") for name in ("env", "target", "prefix")}
    try:
        data, link_mode = _settings(flags, environ)
        return answered(Question(_read(flags["lock"]), **names, link_mode=link_mode, python=PYTHON), data)
    except (OSError, ValueError):
        return None


def answered(question: Question, data: str) -> Answer | None:
    """The answer to a question, which is then the one asked last; None where there is no note that still holds."""
    try:
        answer = _noted(question.note(data))
        if answer:
            os.utime(answer.used)
    except (OSError, ValueError):
        return None
    return answer


def prune(data: str) -> None:
    """Remove the notes that hold no more, and those that were never finished. OSError passes."""
    folder = f"{data}/answers"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if "." in name or not _holds(f"{folder}/{name}"):
            with suppress(FileNotFoundError):  # its writer was faster, or another who prunes
                os.unlink(f"{folder}/{name}")


def separated(words: Sequence[str]) -> list[str]:
    """The words of `run` with `--` before its command, which begins where a word is no flag and no value of one.

    What is not known here is left as it is, for the parser to judge.
    """
    valued, switches = FLAGS["run"]
    waiting = iter(enumerate(words))
    for place, word in waiting:
        flag, equals, _ = word.partition("=")
        if not word.startswith("-"):
            return [*words[:place], "--", *words[place:]]
        if flag in valued and not equals:
            next(waiting, None)
        elif flag not in valued | switches:
            break
    return list(words)


def plain_arguments(words: Sequence[str]) -> SimpleNamespace | None:
    """The words of `materialize` as the parser reads them, which takes as long to make as to read all of a lock.

    None where a word is not known here, or LOCK is missing: the parser says what is wrong.
    """
    flags = flags_of("materialize", words)
    if "lock" not in flags:
        return None
    valued, switches = FLAGS["materialize"]
    found: dict[str, object] = {flag[2:].replace("-", "_"): flags.get(flag[2:]) for flag in valued}
    found |= {flag[2:].replace("-", "_"): flag[2:] in flags for flag in switches}
    from types import SimpleNamespace  # noqa: PLC0415  # where there is no note

    return SimpleNamespace(lock=flags["lock"], **found)


def flags_of(command: str, words: Sequence[str]) -> dict[str, str]:
    """The values of the flags by their names, the lock file's among them; none at all where a word is not known."""
    valued, switches = FLAGS[command]
    found: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if flag in valued:
            found[flag[2:]] = value if equals else _value(waiting)
        elif word in switches:
            found[word[2:]] = word
        elif word.startswith("-") or "lock" in found:
            return {}
        else:
            found["lock"] = word
    return found if all(found.values()) else {}


def _value(words: Iterator[str]) -> str:
    """The next word, "" for a flag: the value was forgotten."""
    word = next(words, "")
    return "" if word.startswith("-") else word


def _settings(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, str]:
    """The data directory and the link mode, by the rules of config.py. OSError and ValueError pass."""
    data = flags.get("data") or environ.get(DATA_VARIABLE)
    link_mode = flags.get("link-mode") or environ.get(LINK_MODE_VARIABLE)
    written = {} if data and link_mode else _document(flags.get("config") or environ.get(CONFIG_VARIABLE), environ)
    data = data or str(written.get("data", data_directory(environ)))
    return os.path.expanduser(data), link_mode or str(written.get("link-mode", LINK_MODE))


def _document(told: str | None, environ: Mapping[str, str]) -> dict[str, object]:
    try:
        text = _read(told or config_file(environ)).decode()
    except FileNotFoundError:
        return {}
    import tomllib  # noqa: PLC0415  # only where there is such a file

    return tomllib.loads(text)


def _holds(note: str) -> bool:
    try:
        return _noted(note) is not None
    except (OSError, ValueError):
        return False


def _noted(note: str) -> Answer | None:
    prefix, used, json, *witnesses = _read(note).decode(errors="surrogateescape").split("\n")
    return Answer(prefix, json, used) if witnesses == _witnesses(prefix) else None


def _witnesses(prefix: str) -> list[str]:
    """The files that must be what they were: inode, size and time of the last change of each that there is."""
    return [_identity(f"{prefix}/{path}") for path in (_MARK, "bin/python")]


def _identity(path: str) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
