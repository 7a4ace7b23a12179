BEGIN TRANSACTION;
CREATE TABLE answers (
	key_id VARCHAR(32) NOT NULL, 
	idempotency_key VARCHAR(255) NOT NULL, 
	payload_sha256 VARCHAR(64) NOT NULL, 
	query_id INTEGER NOT NULL, 
	content BLOB, 
	header_length INTEGER, 
	PRIMARY KEY (key_id, idempotency_key), 
	FOREIGN KEY(key_id) REFERENCES api_keys (id), 
	UNIQUE (query_id), 
	FOREIGN KEY(query_id) REFERENCES queries (id)
);
INSERT INTO "answers" VALUES('1e491977ba8d','once','sha-1',1,X'7B226F757470757473223A5B5D7D00FF',14);
INSERT INTO "answers" VALUES('1e491977ba8d','open','sha-3',3,NULL,NULL);
CREATE TABLE api_keys (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	secret_sha256 VARCHAR(64) NOT NULL, 
	quota BIGINT NOT NULL, 
	used BIGINT DEFAULT 0 NOT NULL, 
	reserved BIGINT DEFAULT 0 NOT NULL, 
	created_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	PRIMARY KEY (id), 
	CONSTRAINT never_over_admitted CHECK (used >= 0 AND reserved >= 0 AND used + reserved <= quota), 
	UNIQUE (name)
);
INSERT INTO "api_keys" VALUES('1e491977ba8d','first','6369fc7d3eec0e4158257e897bb5ef14bbfae52523c82159aa09d8535b284532',100,5,3,1790000000.0,NULL);
INSERT INTO "api_keys" VALUES('d579b19dd50d','second','f8ed09e98eb51227a1a039dab32bbb407fa060f4198cf1c166fbee4a4e69ab4e',7,0,0,1790000001.0,1790000002.0);
CREATE TABLE queries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	request_id VARCHAR(64) NOT NULL, 
	key_id VARCHAR(32) NOT NULL, 
	model_name VARCHAR(64) NOT NULL, 
	model_version VARCHAR(64) NOT NULL, 
	samples INTEGER NOT NULL, 
	payload_sha256 VARCHAR(64) NOT NULL, 
	idempotency_key VARCHAR(255), 
	status VARCHAR(10) NOT NULL, 
	instance_id VARCHAR(32) NOT NULL, 
	created_at FLOAT NOT NULL, 
	finished_at FLOAT, 
	CONSTRAINT known_status CHECK (status IN ('held', 'settled', 'released')), 
	CONSTRAINT charges_something CHECK (samples > 0), 
	FOREIGN KEY(key_id) REFERENCES api_keys (id)
);
INSERT INTO "queries" VALUES(1,'req-1','1e491977ba8d','teacher','00112233',5,'sha-1','once','settled','f1c6417b73b213a8',1790000003.0,1790000004.0);
INSERT INTO "queries" VALUES(2,'req-2','1e491977ba8d','teacher','00112233',2,'sha-2','failed','released','f1c6417b73b213a8',1790000005.0,1790000006.0);
INSERT INTO "queries" VALUES(3,'req-3','1e491977ba8d','teacher','00112233',3,'sha-3','open','held','f1c6417b73b213a8',1790000007.0,NULL);
CREATE INDEX held_queries ON queries (instance_id) WHERE status = 'held';
CREATE INDEX queries_by_key ON queries (key_id, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('queries',3);
COMMIT;
