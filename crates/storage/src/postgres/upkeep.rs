//! What a node does beside commits and reads: learns of other nodes' commits, states what it still shows, removes what
//! nobody shows.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use headwater_types::Position;
use tokio_postgres::Client;

use super::connection::translated;
use super::node::Inner;
use crate::error::Error;

/// Hints of many commits become one. Unit: system time.
const HINT_EVERY: Duration = Duration::from_millis(5);
/// How long a node that is not heard of still holds back what its snapshots show; their reads then answer an error.
/// Source: longer than any pause a process survives in practice.
const NODE_LOST: &str = "60 seconds";
/// How long the outcome of a batch can be asked for.
const BATCH_KEPT: &str = "1 day";
/// Heads that are no more, before they are removed.
const HEADS_GONE: i64 = 1_000;

/// Starts the node's tasks; they end with it.
pub(super) fn spawn(inner: &Arc<Inner>) {
    let runtime = &inner.connections.runtime;
    drop(runtime.spawn(poll(Arc::downgrade(inner))));
    drop(runtime.spawn(listen(Arc::downgrade(inner))));
    drop(runtime.spawn(tell(Arc::downgrade(inner))));
    drop(runtime.spawn(keep(Arc::downgrade(inner))));
}

/// The truth about other nodes' commits: the position row, asked for at every hint and every so often.
async fn poll(inner: Weak<Inner>) {
    let Some((told, runtime, every)) =
        inner.upgrade().map(|inner| (inner.told.clone(), inner.connections.runtime.clone(), inner.settings.poll_every))
    else {
        return;
    };
    loop {
        drop(select(pin!(told.notified()), runtime.sleep(every)).await);
        let Some(inner) = inner.upgrade() else { return };
        if inner.is_closed() {
            return;
        }
        if let Err(error) = inner.newest().await {
            tracing::warn!(%error, "the newest position is not known");
        }
    }
}

/// Hears hints on a connection of its own; without one, polling is all there is.
async fn listen(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade().filter(|inner| !inner.is_closed()) else { return };
        let (told, runtime, channel) = (node.told.clone(), node.connections.runtime.clone(), channel(&node));
        let connected = node.connections.listen(move || told.notify_one()).await;
        drop(node);
        if let Ok((client, ended)) = connected
            && client.batch_execute(&format!("LISTEN {channel}")).await.is_ok()
        {
            let mut ended = pin!(ended);
            // Looks now and then whether the node still lives.
            while let Either::Right(((), rest)) = select(ended, runtime.sleep(Duration::from_secs(1))).await {
                ended = rest;
                if inner.upgrade().is_none_or(|inner| inner.is_closed()) {
                    return;
                }
            }
        }
        runtime.sleep(Duration::from_millis(100)).await;
    }
}

/// Gives hints, never in a batch's transaction: a notification takes a lock of the whole database at its commit.
async fn tell(inner: Weak<Inner>) {
    let mut client: Option<Client> = None;
    loop {
        let Some(node) = inner.upgrade().filter(|inner| !inner.is_closed()) else { return };
        let runtime = node.connections.runtime.clone();
        let is_due = {
            let due = pin!(node.tell.notified());
            matches!(select(due, runtime.sleep(Duration::from_secs(1))).await, Either::Left(_))
        };
        if is_due {
            if client.as_ref().is_none_or(Client::is_closed) {
                client = node.connections.connect().await.ok();
            }
            if let Some(client) = &client {
                // A lost hint costs others a turn of polling.
                let _ = client.batch_execute(&format!("NOTIFY {}", channel(&node))).await;
            }
        }
        drop(node);
        runtime.sleep(HINT_EVERY).await;
    }
}

fn channel(inner: &Inner) -> String {
    format!("headwater_{}", inner.settings.schema)
}

/// States pins, removes what is over.
async fn keep(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade().filter(|inner| !inner.is_closed()) else { return };
        if let Err(error) = vacuum_now(&node).await {
            tracing::warn!(%error, "what is over is not removed");
        }
        let (runtime, every) = (node.connections.runtime.clone(), node.settings.upkeep_every);
        drop(node);
        runtime.sleep(every).await;
    }
}

pub(super) async fn vacuum_now(inner: &Arc<Inner>) -> Result<(), Error> {
    let pin = inner.pins.lock().oldest();
    let client = inner.connections.connect().await.map_err(translated)?;
    state(&client, inner, pin).await.map_err(translated)?;
    remove(&client).await.map_err(translated)?;
    remove_heads(&client).await.map_err(translated)?;
    let size = "SELECT pg_total_relation_size('records')";
    let bytes: i64 = client.query_one(size, &[]).await.map_err(translated)?.get(0);
    inner.counters.log_bytes.store(bytes as u64, Ordering::Relaxed);
    Ok(())
}

async fn state(client: &Client, inner: &Inner, pin: Position) -> Result<u64, tokio_postgres::Error> {
    let state = "INSERT INTO nodes (id, pin) VALUES ($1::bytea, $2::bigint)
        ON CONFLICT (id) DO UPDATE SET pin = excluded.pin, seen = clock_timestamp()";
    client.execute(state, &[&inner.node.as_slice(), &(pin.0 as i64)]).await
}

/// Removes what no snapshot shows. One node at a time does; the others find nothing to do.
async fn remove(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let mine = "SELECT pg_try_advisory_xact_lock(hashtext('headwater.vacuum.' || current_schema()))";
    if !client.query_one(mine, &[]).await?.get::<_, bool>(0) {
        return client.batch_execute("ROLLBACK").await;
    }
    // Nodes that came after this look start at a position no older than the newest that it sees.
    let oldest = format!(
        "SELECT least((SELECT position FROM cell), (SELECT min(pin) FROM nodes
         WHERE seen > clock_timestamp() - interval '{NODE_LOST}'))"
    );
    let oldest: i64 = client.query_one(&oldest, &[]).await?.get(0);
    client.execute("DELETE FROM keys WHERE until <= $1::bigint", &[&oldest]).await?;
    client.execute("DELETE FROM heads_before WHERE until <= $1::bigint", &[&oldest]).await?;
    let records = "DELETE FROM records USING
        (SELECT shard, max(below) AS below FROM horizons WHERE position <= $1::bigint GROUP BY shard) AS h
        WHERE records.shard = h.shard AND records.number < h.below";
    client.execute(records, &[&oldest]).await?;
    // Of a shard's horizons the highest stays, unless the shard is gone altogether.
    let horizons = "DELETE FROM horizons AS old WHERE old.position <= $1::bigint AND
        (old.below = 9223372036854775807 OR EXISTS (SELECT 1 FROM horizons AS newer WHERE newer.shard = old.shard
         AND newer.position <= $1 AND newer.position <> old.position
         AND (newer.below, newer.position) > (old.below, old.position)))";
    client.execute(horizons, &[&oldest]).await?;
    client
        .batch_execute(&format!(
            "DELETE FROM batches WHERE at < clock_timestamp() - interval '{BATCH_KEPT}';
             DELETE FROM nodes WHERE seen < clock_timestamp() - interval '{NODE_LOST}'"
        ))
        .await?;
    // Last, for commits wait for this row from here on: what is removed and the word that it is show at once.
    let said = "UPDATE cell SET vacuumed = $1::bigint WHERE vacuumed < $1::bigint";
    client.execute(said, &[&oldest]).await?;
    client.batch_execute("COMMIT").await
}

/// Removes heads that are no more, when they are many. Batches make and lock heads in the order of their keys and rely on
/// none vanishing in between, so this waits until none is under way.
async fn remove_heads(client: &Client) -> Result<(), tokio_postgres::Error> {
    let many = format!("SELECT count(*) FROM (SELECT 1 FROM heads WHERE version = 0 LIMIT {HEADS_GONE}) AS gone");
    if client.query_one(&many, &[]).await?.get::<_, i64>(0) < HEADS_GONE {
        return Ok(());
    }
    client.batch_execute("BEGIN; LOCK TABLE heads IN EXCLUSIVE MODE; DELETE FROM heads WHERE version = 0; COMMIT").await
}
