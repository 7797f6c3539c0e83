"""The oracle reads MariaDB and MySQL, and finds there what it must find."""

from __future__ import annotations

import psycopg
import pytest

from tests import mysql_family
from tests.conftest import Databases
from tests.oracle import compare

POSTGRES = """
CREATE TABLE kinds (
  id bigint PRIMARY KEY, flag boolean, amount numeric(12, 2), loose numeric,
  ratio double precision, ratio4 real, note text, raw bytea,
  day date, at time, moment timestamp, instant timestamptz, token uuid, doc jsonb);
INSERT INTO kinds VALUES
  (1, true, '3.00', '1.10', 0.1, 1.1, E'a\\tb''c', '\\x00ff', '2024-02-29', '23:59:59.5',
   '2024-02-29 01:02:03.25', '2024-02-29 01:02:03+02', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
   '{"b": [1, 2.50], "a": null}'),
  (2, false, '-0.01', '-123456789012345678901234567890.5', 1e300, 3e38, '', '', '0001-01-01', '00:00',
   '9999-12-31 23:59:59.999999', '1970-01-01 00:00:00+00', NULL, '"x"'),
  (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE pairs (a text, b int, PRIMARY KEY (b, a));
INSERT INTO pairs VALUES ('x', 1), ('X', 1), ('x ', 1);
"""

MYSQL = (
    """CREATE TABLE kinds (
  id bigint PRIMARY KEY, flag tinyint(1), amount decimal(12, 2),
  loose longtext COMMENT 'syncline:{"kind":"decimal"}',
  ratio double, ratio4 float, note longtext, raw longblob, day date, at time(6), moment datetime(6),
  instant datetime(6) COMMENT 'syncline:{"kind":"timestamptz"}',
  token char(36) COMMENT 'syncline:{"kind":"uuid"}',
  doc longtext COMMENT 'syncline:{"kind":"json"}') DEFAULT CHARSET utf8mb4""",
    r"""INSERT INTO kinds VALUES
  (1, 1, '3.00', '1.10', 0.1, 1.1, 'a\tb''c', x'00ff', '2024-02-29', '23:59:59.5', '2024-02-29 01:02:03.25',
   '2024-02-28 23:02:03', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":null,"b":[1,2.5]}'),
  (2, 0, '-0.01', '-123456789012345678901234567890.5', 1e300, 3e38, '', '', '0001-01-01', '00:00',
   '9999-12-31 23:59:59.999999', '1970-01-01 00:00:00', NULL, '"x"'),
  (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    "CREATE TABLE pairs (a varchar(9) CHARACTER SET utf8mb4 COLLATE {exact}, b int, PRIMARY KEY (b, a))",
    "INSERT INTO pairs VALUES ('x', 1), ('X', 1), ('x ', 1)",
    "CREATE TABLE _syncline_streams (stream int PRIMARY KEY)",
)

ALTERATIONS = (
    ("UPDATE kinds SET flag = 0 WHERE id = 1", "cell"),
    ("UPDATE kinds SET amount = 3.01 WHERE id = 1", "cell"),
    ("UPDATE kinds SET loose = '1.1' WHERE id = 1", "cell"),
    ("UPDATE kinds SET ratio = 0.10000000000000002 WHERE id = 1", "cell"),
    ("UPDATE kinds SET ratio4 = 1.1000001 WHERE id = 1", "cell"),
    ("UPDATE kinds SET note = NULL WHERE id = 2", "cell"),
    ("UPDATE kinds SET raw = x'00fe' WHERE id = 1", "cell"),
    ("UPDATE kinds SET at = '23:59:59.500001' WHERE id = 1", "cell"),
    ("UPDATE kinds SET instant = '2024-02-29 01:02:03' WHERE id = 1", "cell"),
    ("DELETE FROM kinds WHERE id = -3", "row missing"),
    ("INSERT INTO kinds (id) VALUES (4)", "row added"),
    ("UPDATE pairs SET a = 'xx' WHERE a = 'X'", "row added"),
    ("ALTER TABLE pairs ADD COLUMN extra int", "columns"),
    ("DROP TABLE pairs", "table"),
)


@pytest.mark.parametrize(
    ("system", "exact"), [("mariadb", "utf8mb4_nopad_bin"), ("mysql", "utf8mb4_0900_bin")]
)
def test_every_alteration_is_found(
    system: str, exact: str, postgres_database: Databases, request: pytest.FixtureRequest
) -> None:
    make: Databases = request.getfixturevalue(f"{system}_database")
    source, target = postgres_database(), make()
    with psycopg.connect(source) as connection:
        connection.execute(POSTGRES.encode())
    fill = [statement.replace("{exact}", exact) for statement in MYSQL]
    for statement, what in (("DO 0", ""), *ALTERATIONS):
        mysql_family.run(target, "DROP TABLE IF EXISTS kinds, pairs, _syncline_streams", *fill, statement)
        found = compare(source, target)
        assert (what in {difference.what for difference in found}) if what else not found, (statement, found)
