"""What each command of envagent does: a function of its arguments that returns the exit code."""
