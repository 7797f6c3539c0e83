"""What stands between a user's words and the engine: which stores are meant, which pipelines run, and how.

In: store references, options and `syncline.toml`, as the CLI or a program gives them. Out: reports, status
and errors. May import the engine, `observe` and the contract; never touches rows, and imports what is heavy
only when a run begins.

    service     everything that can be asked for; what the CLI and other programs call
    stores      references made into stores                   parked   the parked keys of two stores
    project     syncline.toml, found and read                 model    what it may hold
    problems    what is wrong with it                         lines    on which line
    units       sizes and lengths of time                     rules    of tables, on their way
    schedule    when a pipeline runs                          draft    a first configuration
    supervisor  keeps workers running                         child    a worker's process, from outside
    supervision what is to be done about one pipeline         timetable  schedules that survive
    worker      one pipeline in a process of its own          heartbeat  its figures, written
    state       the state database; `migrations` are its versions
    stored      what it holds                                 inquiry    a look at it, at little cost
    status      how pipelines stand                           removal  takes one away
    processes   which process still runs; locks               signals  end a run cleanly
    reports     a report as a document                        failures any exception as an error of ours
"""
