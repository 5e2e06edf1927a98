//! One request to the admin address.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::control::Refused;

/// What the server said: an answer, or why not.
pub(super) type Said = Result<Value, Refused>;

pub(super) async fn get(admin: &str, token: &str, path: &str, query: &[(&str, String)]) -> Result<Said> {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    send(admin, token, Method::GET, &format!("{path}?{query}"), Bytes::new()).await
}

pub(super) async fn post(admin: &str, token: &str, path: &str, body: &Value) -> Result<Said> {
    send(admin, token, Method::POST, path, Bytes::from(body.to_string())).await
}

async fn send(admin: &str, token: &str, method: Method, target: &str, body: Bytes) -> Result<Said> {
    let unreachable = || format!("no server answers at {admin}; --admin or HEADWATER_ADMIN_URL says where it is");
    let authority = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let stream = TcpStream::connect(authority).await.with_context(unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(unreachable)?;
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, authority)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .context("the admin address or the token cannot stand in a request")?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    let exchanged = tokio::select! {
        biased;
        exchanged = exchange => exchanged,
        // The connection's own end comes before the answer only when it has failed.
        Err(error) = connection => Err(error),
    };
    let (status, body) = exchanged.with_context(unreachable)?;
    let mut answer: Value = serde_json::from_slice(&body).with_context(|| {
        format!("{admin} answers {status} and no JSON: is it the admin address of a server started with --control?")
    })?;
    if status.is_success() {
        return Ok(Ok(answer));
    }
    let error = answer.get_mut("error").map(Value::take).unwrap_or_default();
    ensure!(error.is_object(), "{admin} answers {status}: {answer}");
    Ok(Err(serde_json::from_value(error)?))
}
