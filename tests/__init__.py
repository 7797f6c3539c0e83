"""The tests; a package, so that `tests.oracle` and `tests.crash` run from the checkout."""
