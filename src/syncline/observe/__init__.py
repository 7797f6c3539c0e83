"""What a run tells, kept for those who look later: figures of this moment, lines of a log.

In: the calls of `engine.report.Observer`. Out: immutable figures, files of lines. May import the engine's
report, the model and errors; opens no store.

    rate       how much a second
    recorder   an observer that keeps the figures of one pipeline
    figures    a snapshot of them, and its persisted form
    logs       a pipeline's lines, in files that are rotated
"""
