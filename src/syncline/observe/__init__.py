"""What a run tells, kept for those who look later: figures of this moment, lines of a log, metrics, alarms.

In: the calls of `engine.report.Observer`, budgets. Out: immutable figures, files of lines, metrics for
Prometheus and DogStatsD, alarms told to a command or a webhook. May import the engine's report, the model
and errors; opens no store.

    rate       how much a second
    recorder   an observer that keeps the figures of one pipeline
    figures    a snapshot of them, and its persisted form
    logs       a pipeline's lines, in files that are rotated
    names      the table of all metrics
    exporters  figures as metrics, for Prometheus and DogStatsD
    alarms     figures held against budgets; each alarm is raised and cleared once
    notify     alarms told to a command and a webhook
"""
