"""A commit that succeeded and whose reply was lost: what was written is not written again."""

from __future__ import annotations

import time
from urllib.parse import urlsplit, urlunsplit

from tests.crash.proxy import Proxy, Way
from tests.runs import Following, Notices, execute, value, wait_for

from .watch import count, equal, live

AUDIT = (
    "CREATE TABLE public.audit (id bigint)",
    "CREATE FUNCTION public.seen() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NULL; END'",
    "CREATE TRIGGER seen AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION public.seen()",
    "ALTER TABLE t ENABLE ALWAYS TRIGGER seen",
)


def test_a_row_whose_commit_was_not_answered_is_inserted_once(pair: tuple[str, str]) -> None:
    source, target = pair
    parts = urlsplit(target)
    assert parts.hostname is not None
    assert parts.port is not None
    notices = Notices()
    with Proxy(parts.hostname, parts.port) as proxy:
        netloc = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
        through = urlunsplit(parts._replace(netloc=netloc))
        with Following(source, through, observer=notices):
            live(target)
            execute(target, *AUDIT)
            for number in range(1000, 1005):
                proxy.delay(0.05)  # so that the answer to a commit is on its way when it is cut
                execute(source, f"INSERT INTO t VALUES ({number}, 0, 'unanswered')")
                wait_for(lambda number=number: count(target, f"id = {number}") == 1, "the commit")
                proxy.hold(Way.TO_CLIENT)
                time.sleep(0.1)
                proxy.restore(reset=True)
                proxy.delay(0)
            execute(source, "INSERT INTO t VALUES (2000, 0, 'last')")
            wait_for(lambda: count(target, "id = 2000") == 1, "the last row", 60)
    assert any("trying again" in text for text in notices.texts), "something was cut"
    doubled = "SELECT count(*) FROM (SELECT id FROM public.audit GROUP BY id HAVING count(*) > 1) AS twice"
    assert value(target, doubled) == 0
    assert value(target, "SELECT count(*) FROM public.audit") == 6
    execute(target, "DROP TRIGGER seen ON t", "DROP TABLE public.audit")
    equal(source, target)
