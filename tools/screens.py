"""What a terminal shows, put into the documentation between its marks.

    python -m tools.screens [NAME…]     needs tmux and the private PostgreSQL server of `services`

A page marks a place with `<!-- screen NAME -->` and `<!-- end of screen -->`; what is between them is made
anew. Each command is typed into a real terminal of 100 columns, in an empty folder, and what it shows is
taken as it is, but for the test server's address.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from services import find

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_SOCKET = "syncline-screens"
_COLUMNS, _LINES = 100, 44
MARK = re.compile(r"(<!-- screen ([\w-]+) -->\n)(.*?)(<!-- end of screen -->)", re.DOTALL)


class Terminal:
    """A window of tmux in a folder, whose prompt is `$ `."""

    def __init__(self, folder: Path, name: str, begin: bool) -> None:
        self._name = name
        shell = [
            "env",
            "-i",
            f"HOME={folder}",
            f"XDG_STATE_HOME={folder}/state",
            "TERM=screen",
            "LANG=C.UTF-8",
        ]
        shell += [
            f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}",
            "PS1=$ ",
            "bash",
            "--norc",
            "-i",
        ]
        size = ["-d", "-x", str(_COLUMNS), "-y", str(_LINES)] if begin else ["-d", "-t", "screens"]
        what = ["new-session", "-s", "screens"] if begin else ["new-window"]
        _tmux(*what, *size, "-n", name, "-c", str(folder), *shell)

    def type(self, text: str) -> None:
        """Type a line."""
        _tmux("send-keys", "-t", self._at, "-l", text)
        _tmux("send-keys", "-t", self._at, "Enter")

    def press(self, key: str) -> None:
        """Press a key, such as C-c."""
        _tmux("send-keys", "-t", self._at, key)

    def wait(self, pattern: str, seconds: float = 60.0) -> str:
        """What stands there once it matches."""
        until = time.monotonic() + seconds
        while not re.search(pattern, shown := self.read(), re.MULTILINE):
            if time.monotonic() > until:
                raise TimeoutError(f"{pattern} never came:\n{shown}")
            time.sleep(0.1)
        return shown

    def begin(self, text: str) -> None:
        """Type a line into an empty window."""
        self.press("C-l")
        time.sleep(0.3)
        self.type(text)

    def run(self, text: str, seconds: float = 60.0) -> str:
        """Type a command into an empty window, and what stands there when it has ended."""
        self.begin(text)
        shown = self.wait(r"\A\$ .*\S(.*\n)+\$ *\Z", seconds)
        return shown.rpartition("\n$")[0]

    def read(self) -> str:
        """What stands there, lines that only the width has broken as one."""
        shown = _tmux("capture-pane", "-p", "-J", "-t", self._at)
        return "\n".join(line.rstrip() for line in shown.splitlines()).rstrip()

    @property
    def _at(self) -> str:
        return f"screens:{self._name}"


def _tmux(*arguments: str) -> str:
    return subprocess.run(
        ["tmux", "-L", _SOCKET, "-f", "/dev/null", *arguments], check=True, capture_output=True, text=True
    ).stdout


@contextmanager
def _terminals(folder: Path) -> Iterator[tuple[Terminal, Terminal]]:
    one, two = Terminal(folder, "one", begin=True), Terminal(folder, "two", begin=False)
    try:
        time.sleep(0.5)
        yield one, two
    finally:
        _tmux("kill-server")


def screens() -> dict[str, str]:
    """Every screen by its name."""
    folder = Path(tempfile.mkdtemp(prefix="syncline-screens-"))
    server = find("postgres")
    try:
        with server.in_use(), _terminals(folder) as (one, two):
            server.start()
            shown = _sqlite(folder, one, two)
            return shown | _postgres(folder, server.url, one, two)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sqlite(folder: Path, one: Terminal, two: Terminal) -> dict[str, str]:
    shown: dict[str, str] = {}
    page = (ROOT / "docs/tutorial.md").read_text()
    (folder / "shop.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    one.run("python shop.py")
    shown["check"] = one.run("syncline check sqlite:///shop.db sqlite:///copy.db")
    shown["init"] = one.run("syncline init sqlite:///shop.db sqlite:///copy.db").replace(f"{folder}/", "")
    shown["left"] = one.run("syncline sync sqlite:///shop.db sqlite:///copy.db --quiet")
    configuration = folder / "syncline.toml"
    text = configuration.read_text().replace('# exclude = ["*_log"]', 'exclude = ["visits"]')
    configuration.write_text(text)
    (folder / "copy.db").unlink()
    two.begin("syncline run")
    shown["run"] = two.wait(r"(live\n?.*){2}")
    with sqlite3.connect(folder / "shop.db", timeout=30) as shop:
        shop.execute("UPDATE orders SET total = total + 1 WHERE id < 313")
    time.sleep(3)
    one.begin("syncline status --watch")
    shown["status"] = "$ syncline status --watch\n" + one.wait(r"live[^\n]*312\n")
    one.press("C-c")
    two.press("C-c")
    ended = two.wait(r"\$ *\Z").rpartition("\n$")[0]
    shown["stopped"] = "$ syncline run\n…\n" + ended[ended.index("^C") :]
    shown["once"] = one.run("syncline run --once; echo exit code $?")
    shown["reports"] = one.run("syncline reports")
    one.run("syncline remove shop; rm copy.db")
    _grow(folder / "shop.db")
    two.begin("syncline run")
    two.wait("orders: copying")
    time.sleep(1.5)
    killed = [line.split()[0] for line in _processes(folder) if line.endswith("syncline run")]
    subprocess.run(["kill", "-9", *killed], check=True)
    two.wait("Killed")
    time.sleep(2)
    two.begin("syncline run")
    two.wait(r"(live\n?.*){2}", 120)
    shown["resumed"] = one.run("syncline logs shop")
    two.press("C-c")
    two.wait(r"\$ *\Z")
    with sqlite3.connect(folder / "narrow.db") as narrow:
        narrow.execute(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL"
            " UNIQUE CHECK (email LIKE '%@%'))"
        )
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("UPDATE customers SET email = 'none' WHERE id = 7")
    stores = "sqlite:///shop.db sqlite:///narrow.db"
    shown["parked"] = one.run(f"syncline sync {stores} --tables customers --quiet")
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("UPDATE customers SET email = 'seven@example.org' WHERE id = 7")
    shown["retried"] = one.run(f"syncline sync {stores} --tables customers --quiet")
    return shown


def _postgres(folder: Path, url: str, one: Terminal, two: Terminal) -> dict[str, str]:
    shown: dict[str, str] = {}
    shop = f"{url.rpartition('/')[0]}/screens"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS screens WITH (FORCE)")
        server.execute("CREATE DATABASE screens")
    try:
        with psycopg.connect(shop, autocommit=True) as server:
            server.execute(_SHOP)
            (folder / "shop-url").write_text(shop)
            shown["postgres"] = one.run("syncline sync file:shop-url sqlite:///pg.db --quiet")
            wrong = re.sub(r"//\w+:[^@]*@", "//me:guess@", shop)
            (folder / "wrong-url").write_text(wrong)
            shown["password"] = one.run("syncline sync file:wrong-url sqlite:///pg.db")
            (folder / "syncline.toml").write_text(  # a budget, so that alarms are watched for
                '[stores]\nshop = "file:shop-url"\ncopy = "sqlite:///pg.db"\n'
                '[pipelines.shop]\nfrom = "shop"\nto = "copy"\nschema = "freeze"\n'
                '[pipelines.shop.budget]\nlag = "1h"\n'
            )
            two.begin("syncline run")
            two.wait(r"(live\n?.*){2}")
            server.execute("ALTER TABLE orders ALTER status DROP DEFAULT, ALTER status TYPE integer USING 1")
            server.execute("UPDATE orders SET status = 4 WHERE id = 1")
            two.wait("orders: failed")
            time.sleep(3)
            shown["changed"] = one.run("syncline status")
            shown["resync"] = one.run("syncline resync shop orders")
            time.sleep(8)
            shown["resync"] += "\n" + one.run("syncline status")
            one.run("syncline pause shop")
            time.sleep(3)
            shown["cutover"] = one.run("syncline cutover shop --quiet-for 2 --quiet")
            two.press("C-c")
            two.wait(r"\$ *\Z")
            one.run("syncline remove shop")
    finally:
        two.press("C-c")
        time.sleep(3)
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE database = 'screens' AND NOT active"
            )
            server.execute("DROP DATABASE IF EXISTS screens WITH (FORCE)")
    port = shop.rpartition(":")[2].partition("/")[0]
    user = shop.partition("//")[2].partition(":")[0]
    return {
        name: text.replace(f"{user}@127.0.0.1:{port}", "me@db.example.org")
        .replace(f"127.0.0.1:{port}", "db.example.org")
        .replace("/screens", "/shop")
        for name, text in shown.items()
    }


_SHOP = """
CREATE TABLE customers (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL,
    joined timestamptz NOT NULL DEFAULT now());
CREATE TABLE orders (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers, total numeric(10,2) NOT NULL,
    status text NOT NULL DEFAULT 'new');
INSERT INTO customers (name) SELECT 'Customer ' || n FROM generate_series(1, 5000) n;
INSERT INTO orders (customer_id, total) SELECT 1 + n % 5000, n % 900 + 0.5 FROM generate_series(1, 40000) n;
"""


def _grow(path: Path) -> None:
    """Give the shop so many orders that a copy takes seconds."""
    with sqlite3.connect(path, timeout=30) as shop:
        shop.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, 'new')",
            ((n, n % 5000 + 1, n % 900 + 0.5) for n in range(40_001, 600_001)),
        )


def _processes(folder: Path) -> list[str]:
    """Pid and command line of what runs in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder:
                words = (process / "cmdline").read_bytes().split(b"\0")
                found.append(f"{process.name} {b' '.join(words).decode().strip()}")
        except OSError:
            continue
    return found


def write(shown: dict[str, str], wanted: set[str]) -> None:
    """Put the screens into every page that asks for them."""
    for page in PAGES:
        before = page.read_text()

        def block(mark: re.Match[str]) -> str:
            name = mark[2]
            if name not in shown or (wanted and name not in wanted):
                return mark[0]
            return f"{mark[1]}```console\n{shown[name]}\n```\n{mark[4]}"

        after = MARK.sub(block, before)
        if after != before:
            page.write_text(after)


if __name__ == "__main__":
    write(screens(), set(sys.argv[1:]))
