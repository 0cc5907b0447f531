"""The command line of envagent: runs one command, and turns what it raises into a last line and an exit code.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 it failed on this machine, 2 the command line asks for what
cannot be done, 3 an input (lock, wheel, package) was refused. What can be asked is in table.py, and nothing but the
module of the command that is called is imported. What was asked and answered before is answered from a note
(recall.py), which imports not even the table; nor does `materialize` with nothing unusual in its words.
"""

from __future__ import annotations

import gc
import os
import sys

from envproxy import __version__

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence

_COLLECT_AFTER = 50_000
"""Objects: with Python's 700, a tenth of a start goes into looking for garbage among modules, which are none."""
_FOR_WEEKS = "serve"  # which keeps to Python's


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:
        sys.stdout.write(f"envagent {__version__}\n")
        return 0
    if words[:1] == ["run"]:
        from envagent.recall import separated  # noqa: PLC0415  # one command needs it

        words = ["run", *separated(words[1:])]
    if words[:1] in (["materialize"], ["run"]) and (code := _at_once(*words)) is not None:
        return code
    return _the_long_way(words)


def program() -> None:
    """The program: ends this process with the exit code.

    At once: taking the interpreter down takes as long as some commands, and aborts while threads of py-rattler end.
    """
    if sys.argv[1:2] != [_FOR_WEEKS]:
        gc.set_threshold(_COLLECT_AFTER)
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _at_once(command: str, *words: str) -> int | None:
    """Answer from a note; None where there is none."""
    from envagent.recall import recalled  # noqa: PLC0415  # two commands need it

    end = words.index("--") if "--" in words else len(words)
    if (command == "run") != bool(words[end + 1 :]):
        return None
    answer = recalled(command, words[:end], os.environ)
    if answer is None:
        return None
    if command == "run":
        from envagent.activation import enter  # noqa: PLC0415  # one command needs it

        return enter(answer.prefix, words[end + 1 :], os.environ)
    sys.stdout.write((answer.json if "--json" in words else answer.prefix) + "\n")
    return 0


def _the_long_way(words: list[str]) -> int:
    from envagent.disk import errors_in_words  # noqa: PLC0415  # what is answered without these starts faster
    from envagent.errors import EnvagentError  # noqa: PLC0415

    try:
        with errors_in_words():
            return _called(words)
    except EnvagentError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; nothing more can be said to anybody
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130  # as shells report a death by SIGINT


def _called(words: list[str]) -> int:
    """Run the command; the exit code. Raises what it raises."""
    if words[:1] == ["materialize"]:
        from envagent.recall import plain_arguments  # noqa: PLC0415  # imported before

        if arguments := plain_arguments(words[1:]):
            from envagent.commands import materialize  # noqa: PLC0415  # one command needs it

            return materialize.run(arguments)
    from envagent.table import called, parsed  # noqa: PLC0415  # as above

    return called(parsed(words))
