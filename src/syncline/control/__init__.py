"""What stands between a user's words and the engine: which stores are meant, and a run of a pipeline.

In: store references and options, as the CLI or a program gives them. Out: reports and errors. May import
the engine and the contract; never touches rows, and imports what is heavy only when a run begins.
"""
