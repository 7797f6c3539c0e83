"""The crash test: writers that never stop, and a sync that is killed, cut off and starved all the while.

`python -m tests.crash deep` runs the full figures, `python -m tests.crash short` those of `make test`;
`--from` and `--to` take any pair: a server of `services`, `sqlite`, or a URL of an empty database (which
cannot be stopped, only cut off). What is judged at the end:

- a one-off run exits 0 and calls every table equal, and so does the oracle;
- every commit that a writer saw acknowledged is in both stores;
- the position row went on from where it stood, every time, and its fence never went back.

Rooms: `tables` and `writer` make the load, `proxy` is the link that can be cut, `syncer` runs the command,
`chain` watches the position row, `ends` are the two stores, `run` is the order of events.
"""
