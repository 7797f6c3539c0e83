"""One room per system, opened through the entry points `syncline.connectors`.

A connector may import the contract, the model, the failpoints and errors; never another connector.
"""
