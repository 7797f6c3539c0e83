CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL CHECK (n > 0), note text);
CREATE SCHEMA syncline;
CREATE TABLE syncline.streams (
    stream text PRIMARY KEY,
    version int NOT NULL,
    fence bigint NOT NULL,
    position text,
    source jsonb,
    removing boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE syncline.tables (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    floor text,
    goal text,
    schema json NOT NULL,
    created boolean NOT NULL,
    aside boolean NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (stream, namespace, name)
);
CREATE TABLE syncline.spans (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    number int NOT NULL,
    span jsonb NOT NULL,
    rows bigint,
    PRIMARY KEY (stream, namespace, name, number)
);
CREATE TABLE syncline.parked (
    stream text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    since text NOT NULL,
    asked boolean NOT NULL DEFAULT false,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, namespace, name, key)
);
COMMENT ON SCHEMA syncline IS 'what Syncline keeps of the streams that write to this database';
INSERT INTO public.t VALUES ('1', '1', 'one');
INSERT INTO public.t VALUES ('3', '3', NULL);
INSERT INTO public.t VALUES ('4', '4', 'four');
INSERT INTO syncline.streams VALUES ('{stream}', '1', '1', '1795571757448549.F9FCEF8D27F8', '{"system": "sqlite", "database": "main", "instance": "{source}", "incarnation": "03a9c19d-b524-44ea-be1a-8195b1e88b45"}', 'false', '2026-11-25 01:55:57.648803+00');
INSERT INTO syncline.tables VALUES ('{stream}', '', 't', 'live', '1795571757448548.A08B62067799', '1795571757448548.A08B62067799', '{"table":[null,"t"],"columns":[{"name":"id","type":{"kind":"int64"},"nullable":false,"default":null,"generated":false,"identity":true},{"name":"n","type":{"kind":"int64"},"nullable":false,"default":null,"generated":false,"identity":false},{"name":"note","type":{"kind":"text"},"nullable":true,"default":null,"generated":false,"identity":false}],"key":["id"],"system":"sqlite","indexes":[],"foreign_keys":[],"fingerprint":""}', 'false', 'false', '');
INSERT INTO syncline.spans VALUES ('{stream}', '', 't', '0', '[null, null]', '2');
INSERT INTO syncline.parked VALUES ('{stream}', '', 't', '[2]', 'new row for relation "t" violates check constraint "t_n_check" (Failing row contains (2, -2, parked))', '1795571757448548.A08B62067799', 'false', '2026-11-25 01:55:57.616029+00');
