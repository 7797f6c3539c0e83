"""Configurations that people get wrong, each with the line it is answered with and what it says."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = """\
[stores]
shop = "env:SHOP_URL"
warehouse = "sqlite:///warehouse.db"

[pipelines.orders]
from = "shop"
to = "warehouse"
include = ["sales.*", "orders"]
"""


@dataclass(frozen=True)
class Broken:
    """A mistake: `line` and parts of the answer, the remedy among them."""

    name: str
    text: str
    line: int
    says: tuple[str, ...]


def changed(name: str, old: str, new: str, line: int, *says: str) -> Broken:
    """A mistake in a file that is right otherwise."""
    assert old in GOOD
    return Broken(name, GOOD.replace(old, new, 1), line, says)


def added(name: str, lines: str, line: int, *says: str) -> Broken:
    """A mistake in lines below those of a file that is right; `line` counts from the first of them."""
    return Broken(name, GOOD + lines, GOOD.count("\n") + line, says)


ORDERS = "in pipelines.orders"
RULES = '[pipelines.orders.tables."sales.orders"]\n'
BROKEN = [
    changed("unknown table", "[stores]", "[store]", 1, 'unknown key "store"', "did you mean stores?"),
    changed("unknown key", "include", "inclde", 8, 'unknown key "inclde"', ORDERS, "did you mean include?"),
    changed("unknown section", "[pipelines.orders]", "[pipeline.orders]", 5, '"pipeline"', "pipelines?"),
    changed(
        "no from", 'from = "shop"\n', "", 5, '"from" is missing', 'add from = "…" below [pipelines.orders]'
    ),
    changed("no to", 'to = "warehouse"\n', "", 5, '"to" is missing', 'add to = "…"'),
    changed("unknown store", '"shop"\n', '"shp"\n', 6, 'there is no store "shp"', "did you mean shop?"),
    changed("no such store at all", '"shop"\n', '"x"\n', 6, 'no store "x"', 'add x = "…" below [stores]'),
    changed("both ends", 'to = "warehouse"', 'to = "shop"', 7, "one store at both ends", "name two"),
    changed("scheme", "sqlite:", "sqlit:", 3, "no connector knows the scheme sqlit", "did you mean sqlite?"),
    changed("a path for a URL", "sqlite:///warehouse.db", "warehouse.db", 3, "is no store", "write a URL"),
    changed("env without a name", "env:SHOP_URL", "env:", 2, "env: names nothing", "write env:NAME"),
    changed("file without a path", "env:SHOP_URL", "file:", 2, "names nothing", "write file:PATH"),
    changed("no quotes", '"shop"\n', "shop\n", 6, "it is not TOML", "put texts into quotes"),
    changed("no closing bracket", '"orders"]', '"orders"', 9, "it is not TOML", "[brackets]"),
    changed("key twice", 'to = "ware', 'from = "shop"\nto = "ware', 7, "it is not TOML: cannot overwrite"),
    changed(
        "a text for a list", '["sales.*", "orders"]', '"orders"', 8, "include", "a list", 'like ["orders"'
    ),
    changed("a number in a list", '"sales.*"', "3", 8, f"include {ORDERS} must be a text", "into quotes"),
    changed("a number on a later line", '["sales.*"', '[\n"a",\n3', 8, "must be a text"),
    changed("an empty glob", '"sales.*"', '""', 8, "an empty name means no table", "sales.*"),
    changed("a number for a store", '"env:SHOP_URL"', "5", 2, "shop in stores must be a text", "into quotes"),
    changed(
        "a name with blanks",
        "[pipelines.orders]",
        '[pipelines."my orders"]',
        5,
        "cannot be a name",
        "letters",
    ),
    added("workers as text", 'workers = "two"\n', 1, "must be a whole number", "without quotes"),
    added("no workers", "workers = 0\n", 1, f"workers {ORDERS} must be 1 or more"),
    added("too many workers", "workers = 1000\n", 1, "must be 64 or less"),
    added("policy", 'schema = "evolv"\n', 1, "must be evolve or freeze", "did you mean evolve?"),
    added("compare as text", 'compare = "yes"\n', 1, "must be true or false", "without quotes"),
    added("schedule in words", 'schedule = "hourly"\n', 1, '"hourly" is no schedule', 'like "every 15m"'),
    added("schedule without unit", 'schedule = "every 15"\n', 1, '"15" is no length of time', "5m"),
    added("schedule too often", 'schedule = "every 0s"\n', 1, "too often", "a second is the shortest"),
    added("cron out of range", 'schedule = "61 3 * * *"\n', 1, "is no schedule", "five fields"),
    added("cron weekday", 'schedule = "0 3 * * 9"\n', 1, "no day of the week", "five fields"),
    added("cron day and weekday", 'schedule = "0 3 1 * 1"\n', 1, "of the month and one of the week", "as *"),
    added("amount", '[pipelines.orders.budget]\nretained_log = "10 gigs"\n', 2, '"10 gigs"', "10 GiB"),
    added(
        "amount as number", "[pipelines.orders.budget]\nretained_log = 10\n", 2, "10 is no amount", "10 GiB"
    ),
    added("duration", '[pipelines.orders.budget]\nlag = "soon"\n', 2, '"soon" is no length', "30s, 5m"),
    added("negative count", "[pipelines.orders.budget]\nparked = -1\n", 2, "parked", "must be 0 or more"),
    added(
        "budget key", "[pipelines.orders.budget]\nlags = 1\n", 2, 'unknown key "lags"', "did you mean lag?"
    ),
    added("budget as text", 'budget = "10 GiB"\n', 1, f"budget {ORDERS} must be a table"),
    changed("tables", "include =", "tabels =", 8, 'unknown key "tabels"', ORDERS, "did you mean tables?"),
    added("rule", f"{RULES}wher = 'x > 1'\n", 2, 'unknown key "wher"', "did you mean where?"),
    added("mask", f"{RULES}mask = {{ email = 'hash' }}\n", 2, "email in", "none of the forms", "keep_last"),
    added("mask key", f"{RULES}mask.email = {{ hash = 'abc' }}\n", 2, "none of the forms", "env:NAME"),
    added("columns", f"{RULES}columns = 'id'\n", 2, "columns in", "a list of texts", '["id", "total"]'),
    added("deletes", f"{RULES}deletes = 'markk'\n", 2, "apply or mark or ignore", "did you mean mark?"),
    added("webhook", '[alarm]\nwebhook = "example.org"\n', 2, "no web address", "https://"),
    added("empty command", '[alarm]\ncommand = ""\n', 2, "command in alarm", "it is empty"),
    added("quotes of a command", "[alarm]\ncommand = 'say \"x'\n", 2, "quotes do not match"),
    added(
        "alarm key", '[pipelines.orders.alarm]\nwebhok = "x"\n', 2, 'unknown key "webhok"', "mean webhook?"
    ),
    added("rate", 'rate_limit = "fast"\n', 1, '"fast" is no rate', "20000 rows/s"),
    added("rate without a second", 'rate_limit = "5 MiB"\n', 1, '"5 MiB" is no rate', "5 MiB/s"),
    added("no rate at all", 'rate_limit = "0 rows/s"\n', 1, "is no rate"),
    added("metrics port", '[metrics]\nprometheus = "localhost"\n', 2, "is no address", "127.0.0.1:8125"),
    added("log format", '[log]\nformat = "jsn"\n', 2, "must be text or json", "did you mean json?"),
    added("state in Oracle", '[state]\nurl = "oracle://x"\n', 2, "url in state", "known are"),
    added("state in MySQL", '[state]\nurl = "mysql://x"\n', 2, "SQLite or PostgreSQL", "write sqlite:///"),
    added("state in memory", '[state]\nurl = "memory:x"\n', 2, "SQLite or PostgreSQL", "write sqlite:///"),
    added(
        "two pipelines over one table",
        '[pipelines.all]\nfrom = "shop"\nto = "env:X"\n'
        '[pipelines.more]\nfrom = "env:SHOP_URL"\nto = "warehouse"\n',
        4,
        "pipelines orders and more both sync table orders",
        "exclude",
    ),
    added(
        "a type that is none",
        f'{RULES}cast = {{ total = "txt" }}\n',
        2,
        "total in pipelines.orders.tables",
        'no column can be cast to "txt"',
        "did you mean text?",
    ),
    added("a size to cut to", f'{RULES}cast.total = "text(3)"\n', 2, '"text(3)" has a size', "write text"),
    added("a type nothing is like", f'{RULES}cast.total = "§"\n', 2, 'to "§"', "there are bool, int8,"),
]
