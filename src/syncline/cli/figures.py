"""Numbers and names as people read them."""

from __future__ import annotations


def count(number: float) -> str:
    """A whole number with its thousands parted: 1,234,567."""
    return f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 table, 12 tables."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def megabytes(nbytes: float) -> str:
    """Bytes as MB with one digit: 4.1."""
    return f"{nbytes / 1e6:,.1f}"


def size(nbytes: float) -> str:
    """Bytes with the unit that suits them: 312 B, 4.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} TB"


def duration(seconds: float) -> str:
    """A time that passed: 12.3 s, 2 min 5 s, 1 h 3 min."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def remaining(seconds: float | None) -> str:
    """A time that is left, short: 3s, 2m05s, 1h03m; empty when nobody can tell."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def printable(text: object) -> str:
    """The text with what would move a terminal's cursor or colour written as an escape."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )
