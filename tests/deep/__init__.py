"""Promise 8 measured from outside: bounded memory, an end in time, an idle follow that costs nothing.

In: the command line `syncline sync` as a process, real servers of `services`, Linux's /proc. Out: figures,
and the first one that is past its bound. `python -m tests.deep.big` and `python -m tests.deep.idle` are the
full figures; `test_bounded.py` is their short form in the suite. May import `tests.crash` for its stores.
"""
