BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE apscheduler_jobs (
	id VARCHAR(191) NOT NULL, 
	next_run_time FLOAT, 
	job_state BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE configurations (
	id INTEGER NOT NULL, 
	taken FLOAT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "configurations" VALUES(1,99.5,'{"pipelines":{}}');
CREATE TABLE figures (
	pipeline VARCHAR(64) NOT NULL, 
	written FLOAT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (pipeline)
);
INSERT INTO "figures" VALUES('orders',101.5,'{"v":1,"at":101.5,"stream":"syncline_0123456789ab","source":"a","target":"b","tables":[{"table":"sales.orders","state":"live","detail":"","rows_copied":10,"changes_applied":2,"expected_rows":12}],"position":"0/1A2B","lag":4096,"lag_unit":"bytes","lag_seconds":0.5,"lag_at":101.0,"retained":8192,"rows_per_second":0.0,"changes_per_second":0.0,"progress_at":100.0,"notice":"","trouble":null}');
CREATE TABLE reports (
	id INTEGER NOT NULL, 
	pipeline VARCHAR(64) NOT NULL, 
	ended FLOAT NOT NULL, 
	exit_code INTEGER NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "reports" VALUES(1,'orders',60.0,0,'{"exit":0}');
CREATE TABLE wishes (
	pipeline VARCHAR(64) NOT NULL, 
	paused BOOLEAN NOT NULL, 
	since FLOAT NOT NULL, 
	PRIMARY KEY (pipeline)
);
INSERT INTO "wishes" VALUES('orders',0,50.0);
CREATE TABLE workers (
	pipeline VARCHAR(64) NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	host TEXT NOT NULL, 
	supervisor TEXT NOT NULL, 
	worker TEXT, 
	since FLOAT NOT NULL, 
	beat FLOAT NOT NULL, 
	retry_at FLOAT, 
	exit_code INTEGER, 
	trouble TEXT, alarms TEXT, remark TEXT, 
	PRIMARY KEY (pipeline)
);
INSERT INTO "workers" VALUES('orders','running','host','4241:98','4242:99',100.0,101.0,NULL,NULL,'{"code":"transient","message":"cannot reach the source: away; wait","remedy":"wait","at":100.5}','[{"kind":"lag","message":"the target is behind by 9 s, the budget is 5 s","table":"","remedy":"look","value":9.5,"budget":5.0,"unit":"seconds","since":99.5}]','');
CREATE INDEX ix_reports_pipeline ON reports (pipeline);
CREATE INDEX ix_apscheduler_jobs_next_run_time ON apscheduler_jobs (next_run_time);
COMMIT;
