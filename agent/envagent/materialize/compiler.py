"""Run by the interpreter that the bytecode is for, never imported: compile what stdin lists.

stdin is JSON, a list of [source file, compiled file, name of the source in tracebacks]. A source that does not
compile is left out, as every installer does: templates and files for other Pythons are common. The files are
unchecked-hash (PEP 552): valid whatever the date of the source is. Runs on any Python 3.7 and later.
"""

import json
import py_compile
import sys
import warnings


def compile_file(source: str, target: str, name: str) -> None:
    """Put the bytecode of `source` at `target`, if it compiles."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(source, target, name, doraise=True, optimize=0, invalidation_mode=mode)
    except py_compile.PyCompileError:
        return


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for source, target, name in json.load(sys.stdin):
        compile_file(source, target, name)
