"""`python -m syncline` is the command `syncline`."""

from .cli import main

raise SystemExit(main())
