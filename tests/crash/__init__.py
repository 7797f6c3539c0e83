"""The crash test: writers that never stop, and a sync that is killed, cut off and starved all the while.

`python -m tests.crash deep` runs the full figures, `python -m tests.crash short` those of `make test`;
`--from` and `--to` take any pair: a server of `services`, `sqlite`, or a URL of an empty database (which
cannot be stopped, only cut off). What is judged at the end:

- a one-off run exits 0 and calls every table equal, and so does the oracle;
- every commit that a writer saw acknowledged is in both stores;
- the position row went on from where it stood, every time, and its fence never went back.

With `--evolving` it is a pipeline of syncline.toml under `syncline run`: tables have rules (a filter that
rows enter and leave, masks, other names, a cast, deletes that mark), a writer changes, makes and drops tables
meanwhile, and supervisors are killed as workers are. There a table that was dropped is `failed` by name, all
others are what the rules make of the source, and no worker is ever left alone.

Rooms: `tables` and `writer` make the load, `shaper` the changes of shape, `proxy` is the link that can be
cut, `syncer` and `runner` run the commands, `chain` watches the position row, `ends` are the two stores,
`run` and `evolving` are the order of events.
"""
