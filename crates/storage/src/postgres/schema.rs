//! The tables of a cell.

use tokio_postgres::Client;

use crate::error::{Error, Kind};

/// The layout that this build reads and writes.
const LAYOUT: i64 = 1;

/// Rows that still hold have no end.
///
/// A key may be longer than a B-tree takes (2.7 KB), so the index has its first 2,000 bytes; among equal ones rows are
/// compared whole.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cell (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    layout bigint NOT NULL,
    position bigint NOT NULL,
    mark bigint NOT NULL,
    vacuumed bigint NOT NULL);
CREATE TABLE IF NOT EXISTS heads (
    key bytea PRIMARY KEY,
    since bigint NOT NULL,
    version bigint NOT NULL,
    number bigint NOT NULL,
    items bigint NOT NULL,
    bytes bigint NOT NULL) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS heads_gone ON heads (key) WHERE version = 0;
CREATE TABLE IF NOT EXISTS heads_before (
    key bytea NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL,
    version bigint NOT NULL,
    number bigint NOT NULL,
    items bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (key, since));
CREATE TABLE IF NOT EXISTS keys (
    key bytea NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL DEFAULT 9223372036854775807,
    value bytea NOT NULL);
CREATE INDEX IF NOT EXISTS keys_in_order ON keys (substring(key FROM 1 FOR 2000), since);
CREATE INDEX IF NOT EXISTS keys_ended ON keys (until) WHERE until < 9223372036854775807;
CREATE INDEX IF NOT EXISTS heads_ended ON heads_before (until);
CREATE TABLE IF NOT EXISTS records (
    shard bigint NOT NULL,
    number bigint NOT NULL,
    position bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (shard, number));
CREATE TABLE IF NOT EXISTS horizons (
    shard bigint NOT NULL,
    position bigint NOT NULL,
    below bigint NOT NULL,
    PRIMARY KEY (shard, position));
CREATE TABLE IF NOT EXISTS batches (
    id bytea PRIMARY KEY,
    position bigint,
    outcomes bytea,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS nodes (
    id bytea PRIMARY KEY,
    pin bigint NOT NULL,
    seen timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE SEQUENCE IF NOT EXISTS drawn;
";

/// Refuses a name that would have to be quoted.
pub(super) fn check_name(schema: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if schema.is_empty() || schema.len() > 48 || !schema.chars().all(plain) {
        return Err(Error::new(Kind::Invalid, "a schema's name has 1 to 48 lower-case letters, digits and _"));
    }
    Ok(())
}

/// Makes what is missing. Nodes may do so at the same time.
pub(super) async fn make(client: &Client, schema: &str) -> Result<(), tokio_postgres::Error> {
    // `IF NOT EXISTS` alone does not bear two at once.
    client
        .batch_execute(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock(hashtext('headwater.' || '{schema}'));
             CREATE SCHEMA IF NOT EXISTS {schema}; {TABLES}
             INSERT INTO cell (layout, position, mark, vacuumed) VALUES ({LAYOUT}, 0, 0, 0) ON CONFLICT DO NOTHING;
             COMMIT"
        ))
        .await
}

/// Refuses a cell of another layout.
pub(super) async fn check_layout(client: &Client) -> Result<Result<(), Error>, tokio_postgres::Error> {
    let found: i64 = client.query_one("SELECT layout FROM cell", &[]).await?.get(0);
    Ok(match found {
        LAYOUT => Ok(()),
        _ => Err(Error::new(Kind::Invalid, format!("the schema has layout {found}, this build reads {LAYOUT}"))),
    })
}
