"""The oracle: compares two stores row by row with plain drivers, and imports nothing of Syncline.

`python -m tests.oracle URL_A URL_B [--tables GLOB …] [--exclude GLOB …]`, or `compare(url_a, url_b)`.
Tables are matched by name (PostgreSQL's `sales.orders` is `sales_orders` elsewhere), columns by name, rows
by the first store's key. Two stores of one system are compared cell by cell as that system writes them;
across systems a cell means what PostgreSQL's declared type says. Where rules stand between the two, `rules`
says them in plain Python.
"""

from .compare import Difference, compare
from .rules import Form, Rules

__all__ = ["Difference", "Form", "Rules", "compare"]
