"""`python -m envagent`: the command line without its script."""

from envagent.cli import program

if __name__ == "__main__":
    program()
