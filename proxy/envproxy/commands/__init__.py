"""What the commands of cli.py do, one module a noun; each is imported when it is run."""
