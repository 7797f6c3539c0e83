"""Copies tables, follows logs and applies what they tell, between any two stores of the contract.

In: two functions that open a Source and a Target, and the user's options. Out: rows at the target, a
report. May import `verify`, the contract, the model and errors; never a connector.

    plan      which tables take part, and why others do not; touches nothing
    copy      spans of tables, in parallel, each recorded in the ledger with its rows
    fold      several changes of a key become one
    standing  where a stream stands: position, states of its tables, parked keys; all of it is in the target
    writing   how what the log tells comes to the target's tables
    stream    one source feeding one target: reads, applies, promotes tables to live
    streams   opens the streams of a run under their fences, and takes them away
    entry     how tables come into a stream: at its start, or beside it while it goes on
    gap       what is done when the log does not hold what comes after the position
    pace      how old the target is
    shared    streams between the same two stores, and that no table is of two
    pipeline  a run from start to report: claim, attach, copy, side stream, join, compare, remove
"""
