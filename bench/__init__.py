"""Benchmarks: how fast Syncline is beside the tools that a database brings along.

`python -m bench postgres [--json] [--rows N] [--rounds N]` runs Syncline, native logical replication and
`psql COPY | COPY` in turn over the same data on two private servers of `services`, checks that each of them
ended with equal tables, keys and indexes, and says how they compare. Ratios are the outcome: seconds of the
other one by seconds of Syncline, more than 1 where Syncline is faster. How far two runs of the very same
thing differ is measured beside them (`aa_control`): a ratio that lies within that says nothing.

`postgres` is the order of events, `contenders` are those who compete, `workload` is what they have to bring
over, `usage` reads processor time and memory from /proc (so: Linux only), `machine` says where it was
measured, `figures` makes the document, `sheet` shows it, and `page` writes the committed one, of `results/`,
into the documentation. The room imports nothing of Syncline: it runs
the command.
"""

from __future__ import annotations


class BenchError(Exception):
    """A benchmark cannot be run, or a contender did not do its work; one line that says why."""
