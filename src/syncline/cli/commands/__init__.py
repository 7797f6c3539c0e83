"""The commands, a file each, found by scanning: what is put here is a command.

A module has either a function of its own name, which is the command, or `app`, a group of commands. Both
return the exit code. `EPILOG` ends the help of a single command. A module loads nothing heavy before its
command runs.
"""
