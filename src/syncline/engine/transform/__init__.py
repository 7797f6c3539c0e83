"""Rules that stand between a source's table and the target's: chosen, renamed, filtered, masked, cast.

In: a Source and rules by table. Out: a Source whose schemas, rows and changes are the transformed ones, so
that nothing behind it knows of rules. May import the contract, the model and errors.

    rules       the rules as values
    registry    Python functions by the table they transform
    source      the Source that wraps another
    shape       one table's rules made ready: its schema, and rows and changes in the new shape
    schema      what becomes of a table's columns, key, indexes and foreign keys
    where       filters: SQL's conditions over Arrow columns
    order       comparing cells that travel as text by their value
    form        the names of types that can be cast to
    cast, mask  cells of one column
    function    a Python function over a batch
"""
