"""When a pipeline runs: `every 15m`, or the five fields of cron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .units import parse_seconds

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

LEAST_SECONDS = 1.0
_EVERY = "every "
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_REMEDY = 'write it like "every 15m", or in cron\'s five fields like "0 3 * * *"'


def check_schedule(text: str) -> str:
    """The text, if it is a schedule. ValueError with a sentence otherwise."""
    if text.startswith(_EVERY):
        _interval(text)  # what only reads a configuration need not load the library
    else:
        trigger(text)
    return text


def _interval(text: str) -> float:
    seconds = parse_seconds(text.removeprefix(_EVERY))
    if seconds < LEAST_SECONDS:
        raise ValueError(f'"{text}" is too often; a second is the shortest')
    return seconds


def trigger(text: str) -> BaseTrigger:
    """The APScheduler trigger of a schedule, in local time. ValueError with a sentence when it is none."""
    # Late: most configurations have no schedule, and the library costs memory.
    if text.startswith(_EVERY):
        from apscheduler.triggers.interval import IntervalTrigger

        return IntervalTrigger(seconds=_interval(text))
    from apscheduler.triggers.cron import CronTrigger

    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f'"{text}" is no schedule; {_REMEDY}')
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        # cron runs on either, APScheduler on both: neither meaning is obvious
        raise ValueError(f'"{text}" names a day of the month and one of the week; leave one of them as *')
    try:
        return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday))
    except ValueError as error:
        raise ValueError(f'"{text}" is no schedule: {str(error).rstrip(".")}; {_REMEDY}') from None


def _weekdays(field: str) -> str:
    """Cron's day of the week by names: cron counts from Sunday, and 7 is Sunday too, APScheduler from
    Monday (its issue 286)."""
    if field == "*" or not any(character.isdigit() for character in field):
        return field
    days: list[str] = []
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0", "", "6") if span == "*" else span.partition("-")
        names = [day if day.isdigit() else str(_DAYS.index(day.lower())) for day in (first, last or first)]
        low, high = int(names[0]), int(names[1])
        if low > high or high > 7 or (step and not step.isdigit()):
            raise ValueError(f"{part} is no day of the week")
        days += [_DAYS[day] for day in range(low, high + 1, int(step or 1))]
    return ",".join(dict.fromkeys(days))
