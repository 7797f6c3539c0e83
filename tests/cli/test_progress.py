"""What a run shows of itself, at chosen moments of a clock of the test's own."""

from __future__ import annotations

import io

from rich.console import Console

from syncline.cli.gauges import COMPARING, Gauges
from syncline.cli.progress import Lines, Picture, progress
from syncline.model import Lag, State, TableName

ORDERS, LINES = TableName("orders"), TableName("order_lines", "sales")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def copy(gauges: Gauges, clock: Clock, seconds: int = 4) -> None:
    """Copy half of `orders` in so many seconds, 1,000 rows and 0.5 MB a second."""
    gauges.planned([(ORDERS, seconds * 2000), (LINES, 10)])
    gauges.state(ORDERS, State.COPYING, "")
    for _ in range(seconds):
        clock.now += 1
        gauges.copied(ORDERS, 1000, 500_000)


def picture(clock: Clock, width: int, height: int = 24) -> tuple[Picture, Console]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    return Picture(console, clock), console


def drawn(shown: Picture, console: Console) -> list[str]:
    with console.capture() as capture:
        console.print(shown.render())
    return [line.rstrip() for line in capture.get().splitlines()]


def plain(console: Console, lines: list[str]) -> list[str]:
    """The lines without the codes of a terminal."""
    from rich.text import Text

    return [Text.from_ansi(line).plain.rstrip() for line in lines]


def test_rates_and_the_time_left_follow_the_clock() -> None:
    clock = Clock()
    gauges = Gauges(clock)
    copy(gauges, clock)
    orders = gauges.tables[ORDERS]
    assert orders.row_rate.value(clock.now) == 1000
    assert orders.byte_rate.value(clock.now) == 500_000
    assert orders.seconds_left(clock.now) == 4
    assert orders.share == 0.5
    clock.now += 100
    assert orders.row_rate.value(clock.now) == 0


def test_a_rate_is_not_told_before_there_is_one() -> None:
    clock = Clock()
    gauges = Gauges(clock)
    gauges.copied(ORDERS, 1000, 1)
    assert gauges.row_rate(clock.now) == 0
    assert gauges.seconds_left(clock.now) is None


def test_rows_of_an_earlier_run_count_as_copied_but_not_as_speed() -> None:
    clock = Clock()
    gauges = Gauges(clock)
    gauges.planned([(ORDERS, 1000)])
    gauges.state(ORDERS, State.COPYING, "")
    gauges.resumed(ORDERS, 500)
    clock.now += 1
    assert gauges.tables[ORDERS].share == 0.5
    assert gauges.row_rate(clock.now) == 0


def test_following_is_when_all_that_can_be_live_are() -> None:
    gauges = Gauges(Clock())
    gauges.planned([(ORDERS, 1), (LINES, 1)])
    gauges.state(ORDERS, State.LIVE, "")
    assert not gauges.following
    gauges.state(LINES, State.FAILED, "a column changed")
    assert gauges.following


def test_lines_tell_each_phase_once() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, clock)
    lines.planned([(ORDERS, 8000)])
    lines.state(ORDERS, State.COPYING, "")
    lines.state(ORDERS, State.COPYING, "")
    lines.copied(ORDERS, 1000, 1000)
    lines.state(ORDERS, State.CATCHING_UP, "")
    lines.state(ORDERS, State.LIVE, "")
    lines.comparing(ORDERS)
    lines.notice("waiting for alice")
    assert out.getvalue().splitlines() == [
        "orders: copying, about 8,000 rows",
        "orders: catching up, 1,000 rows copied",
        "orders: live",
        "orders: comparing",
        "waiting for alice",
    ]


def test_lines_tell_figures_every_few_seconds_at_most() -> None:
    clock, out = Clock(), io.StringIO()
    copy(Lines(out, clock), clock, seconds=12)
    figures = [line for line in out.getvalue().splitlines() if "rows/s" in line]
    assert len(figures) == 2
    assert figures[0] == ("1 copying, 1 waiting · 5,000 rows copied · 1,000 rows/s · 0.5 MB/s · 19s left")


def test_an_idle_follow_fills_no_log() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, clock)
    lines.planned([(ORDERS, 1)])
    lines.state(ORDERS, State.LIVE, "")
    lines.applied(ORDERS, 3)
    for _ in range(10_000):
        clock.now += 1
        lines.behind(Lag(0, 0))
    assert len(out.getvalue().splitlines()) == 2


def test_lines_end_with_the_figures_when_a_run_is_interrupted() -> None:
    clock, out = Clock(), io.StringIO()
    try:
        with Lines(out, clock) as lines:
            copy(lines, clock, seconds=2)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "2,000 rows copied" in out.getvalue().splitlines()[-1]


def test_the_picture_has_all_columns_at_80() -> None:
    clock = Clock()
    shown, console = picture(clock, 80)
    copy(shown, clock)
    lines = plain(console, drawn(shown, console))
    assert lines[0].split() == ["table", "rows", "rows/s", "MB/s", "left", "state"]
    assert lines[1].split()[0] == "orders"
    assert lines[1].split()[-5:] == ["4,000", "1,000", "0.5", "4s", "copying"]
    assert lines[3].split()[0] == "total"
    assert max(map(len, lines)) <= 80


def test_a_long_name_gives_way_to_the_figures() -> None:
    clock = Clock()
    shown, console = picture(clock, 80)
    shown.planned([(TableName("x" * 100), 1)])
    shown.state(TableName("x" * 100), State.COPYING, "")
    lines = plain(console, drawn(shown, console))
    assert "…" in lines[1]
    assert lines[1].endswith("copying")
    assert max(map(len, lines)) <= 80


def test_the_busiest_tables_are_shown_and_the_others_counted() -> None:
    shown, console = picture(Clock(), 100, height=12)
    names = [TableName(f"t{number:02}") for number in range(40)]
    shown.planned([(name, 10) for name in names])
    for name in names[:30]:
        shown.state(name, State.LIVE, "")
    shown.state(names[35], State.COPYING, "")
    lines = plain(console, drawn(shown, console))
    assert len(lines) < 12
    assert lines[1].split()[0] == "t35"
    assert any(line.startswith("35 more tables") for line in lines)


def test_a_name_is_not_markup() -> None:
    shown, console = picture(Clock(), 100)
    shown.planned([(TableName("[red]a[/red]\n\x1b[2J"), 1)])
    assert plain(console, drawn(shown, console))[1].startswith("[red]a[/red]\\n\\x1b[2J")


def test_while_following_the_picture_tells_changes_and_what_is_behind() -> None:
    clock = Clock()
    shown, console = picture(clock, 100)
    shown.planned([(ORDERS, 1)])
    shown.state(ORDERS, State.LIVE, "")
    for _ in range(20):
        clock.now += 1
        shown.applied(ORDERS, 10)
    shown.behind(Lag(4_200_000, 0))
    last = plain(console, drawn(shown, console))[-1]
    assert last == "1 live · 200 changes applied · 10 changes/s · 4.2 MB behind"


def test_a_compared_table_says_so() -> None:
    gauges = Gauges(Clock())
    gauges.comparing(ORDERS)
    assert gauges.tables[ORDERS].phase == COMPARING


def test_without_a_terminal_there_are_lines_and_quiet_shows_nothing() -> None:
    assert isinstance(progress(quiet=False), Lines)
    shown = progress(quiet=True)
    assert not isinstance(shown, Lines | Picture)
