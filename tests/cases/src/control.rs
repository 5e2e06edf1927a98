//! Headwater's control API as a client: time and shards that cases move.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::{Authority, Connection};

/// Where the control API is, and the token that opens it.
#[derive(Clone, Debug)]
pub struct ControlPoint {
    /// The server's admin address.
    pub authority: Authority,
    /// As the server printed it, or as it was told.
    pub token: String,
}

impl ControlPoint {
    /// Whether it answers, and knows the token.
    ///
    /// Errors: it does not, with its reason.
    pub async fn look(&self) -> Result<()> {
        self.ask("GET", "/v1/clock", &Value::Null).await.map(drop)
    }

    /// Moves store time ahead, for every table of the server.
    pub async fn advance(&self, ms: u64) -> Result<()> {
        self.ask("POST", "/v1/clock/advance", &json!({ "by": format!("{ms}ms") })).await.map(drop)
    }

    /// Splits or rolls over the shard with which a table's hash range begins.
    pub async fn change_first_shard(&self, verb: &str, table: &str, region: &str) -> Result<()> {
        let shown = self.ask("GET", &format!("/v1/shards?table={table}&region={region}"), &Value::Null).await?;
        let first = |shard: &&Value| {
            shard["closed"].is_null()
                && shard["hash_range"][0].as_str().is_some_and(|hash| hash.bytes().all(|b| b == b'0'))
        };
        let shard = shown["shards"].as_array().into_iter().flatten().find(first);
        let shard = shard.with_context(|| format!("no open shard at the first hash: {shown}"))?;
        let path = match verb {
            "split" => "/v1/split",
            "roll_over" => "/v1/rollover",
            unknown => bail!("{unknown} is no verb"),
        };
        self.ask("POST", path, &json!({ "table": table, "region": region, "shard": shard["id"] })).await.map(drop)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let headers = [
            ("host".to_owned(), self.authority.host.clone()),
            ("authorization".to_owned(), format!("Bearer {}", self.token)),
        ];
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let mut connection = Connection::open(&self.authority).await?;
        let answer = connection.send(method, path, &headers, body).await?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            bail!("{method} {path} answers {} {}", answer.status, text.trim_end());
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path} answers no JSON: {text}"))
    }
}
