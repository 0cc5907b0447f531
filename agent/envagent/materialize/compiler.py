"""Run by the interpreter that the bytecode is for, never imported: compile what stdin lists.

stdin is JSON, a list of [source file, compiled file, name of the source in tracebacks]. A source that does not
compile is left out, as every installer does: templates and files for other Pythons are common. The files are
unchecked-hash (PEP 552): valid whatever the date of the source is. Where the disk refuses, stdout gets a JSON list,
[errno, message, file], and the exit code is 74 (EX_IOERR of sysexits.h). Runs on any Python 3.7 and later.
"""

import json
import marshal
import sys
import warnings
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

DISK_REFUSED = 74
UNCHECKED_HASH = (0b01).to_bytes(4, "little")


def compile_file(source: str, target: str, name: str) -> None:
    """Put the bytecode of `source` at `target`, if it compiles. OSError passes."""
    text = Path(source).read_bytes()
    try:
        code = compile(text, name, "exec", dont_inherit=True, optimize=0)
    except Exception:  # noqa: BLE001  # whatever a source does to the compiler, it is left out
        return
    # Not by py_compile, which takes a file for whole when a full disk took only a part of it.
    Path(target).write_bytes(MAGIC_NUMBER + UNCHECKED_HASH + source_hash(text) + marshal.dumps(code))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for source, target, name in json.load(sys.stdin):
        try:
            compile_file(source, target, name)
        except OSError as error:
            json.dump([error.errno, error.strerror, error.filename or target], sys.stdout)
            sys.exit(DISK_REFUSED)
