"""The command `syncline`: a thin face of the service.

In: arguments, signals. Out: a report on stdout, progress and errors on stderr, an exit code. May import
everything below; never touches rows. `--help` and `--version` load neither pyarrow nor a driver.

    app        finds the commands, runs one, ends with an exit code
    commands   a file a command, with its options
    failures   errors as one line, as JSON and as an exit code
    gauges     what a run has told so far, counted
    progress   the gauges in a terminal, or as plain lines
    summary    the final report, as a table or as JSON
    figures    numbers as people read them
    board      how pipelines stand, as a picture
    chosen     arguments that several commands have
    output     what goes to stdout
    demo       what `syncline demo` plays
"""

from .app import main

__all__ = ["main"]
