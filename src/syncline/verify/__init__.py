"""Tells whether two stores hold the same rows, while writes go on.

In: a source, a target, schemas and a way to let the stream catch up. Out: verdicts. Imports the contract
and the model only; writes nothing.
"""
