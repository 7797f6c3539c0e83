"""What is shipped for testing connectors, also those written elsewhere.

In: a connector and plain drivers of its system. Out: pytest cases. May import everything below it; needs
pytest, and so nothing of Syncline imports it.

    conformance  the contract as test cases, the same for every connector
"""

from __future__ import annotations

import sys

if pytest := sys.modules.get("pytest"):
    pytest.register_assert_rewrite("syncline.testing.conformance")
