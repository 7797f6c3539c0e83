"""Amounts of bytes and of time, as people write them."""

from __future__ import annotations

import re

from ..engine.throttle import RateLimit

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

SIZE_PATTERN = r"^\d+(\.\d+)?\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
DURATION_PATTERN = r"^\d+(\.\d+)?\s*(s|m|h|d)$"


def parse_bytes(text: object) -> int:
    """The bytes that `10 GiB` or `500 MB` means. ValueError with a sentence for anything else."""
    return int(_parse(text, _BYTES, "amount of bytes", "10 GiB or 500 MB"))


def parse_seconds(text: object) -> float:
    """The seconds that `30s`, `5m`, `2h` or `1d` means. ValueError with a sentence for anything else."""
    return _parse(text, _SECONDS, "length of time", "30s, 5m, 2h or 1d")


RATE_PATTERN = r"^\d+(\.\d+)?\s*(rows|B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)/s$"


def parse_rate(text: object) -> RateLimit:
    """The limit that `20000 rows/s` or `5 MiB/s` means. ValueError with a sentence for anything else."""
    amount = text.strip().removesuffix("/s") if isinstance(text, str) else ""
    match = _AMOUNT.fullmatch(amount)
    known = amount != str(text).strip() and match is not None and match[2] in ("rows", *_BYTES)
    if match is None or not known or not float(match[1]):
        shown = f'"{text}"' if isinstance(text, str) else str(text)
        raise ValueError(f"{shown} is no rate; write it like 20000 rows/s or 5 MiB/s")
    if match[2] == "rows":
        return RateLimit(float(match[1]), "rows")
    return RateLimit(float(match[1]) * _BYTES[match[2]], "bytes")


def check_rate(text: str) -> str:
    """The text, if `parse_rate` knows it. ValueError otherwise."""
    parse_rate(text)
    return text


def _parse(text: object, units: dict[str, int], what: str, examples: str) -> float:
    match = _AMOUNT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        shown = f'"{text}"' if isinstance(text, str) else str(text)
        raise ValueError(f"{shown} is no {what}; write it like {examples}")
    return float(match[1]) * units[match[2]]
