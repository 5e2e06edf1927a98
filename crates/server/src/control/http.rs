//! The control API over HTTP: JSON under `/v1/` on the admin address, for whoever knows the token.
//!
//! | Method and path | Body | Answer |
//! |---|---|---|
//! | GET `/v1/clock` | | the clocks |
//! | POST `/v1/clock/advance` | `{"by": "25h"}` or `{"to": TIME}` | the clocks |
//! | POST `/v1/clock/freeze`, `/v1/clock/release` | | the clocks |
//! | GET `/v1/streams` | | all streams |
//! | GET `/v1/shards?table=T`, `/v1/heat?table=T` | | shards; partitions |
//! | POST `/v1/split` | `{"table": T, "shard"?, "at"?}` | partitions |
//! | POST `/v1/rollover` | `{"table": T, "shard"?}` | `{"rolled_over": n}` |
//! | POST `/v1/trim` | `{"table": T, "shard"?, "before"?}` | `{"trimmed_shards": n}` |
//! | POST `/v1/merge` | `{"table": T, "shard", "with"}` | partitions of the data stream; DynamoDB streams never merge |
//! | POST `/v1/expire-iterators` | | `{}` |
//! | GET `/v1/faults` | | all that stand |
//! | POST `/v1/faults/add` | `{"kind": K, "api"?, "operation"?, "resource"?, "rate"?, "times"?, "seed"?, "latency_ms"?}` | it |
//! | POST `/v1/faults/remove`, `/v1/faults/clear` | `{"id": n}`; none | `{}`; `{"cleared": n}` |
//! | GET `/v1/replications` | | all that are on |
//! | POST `/v1/replications/disturb` | `{"duplicates"?, "reorders"?, "seed"?}`, in percent; none: no longer | `{}` |
//! | POST `/v1/snapshot` | `{"directory": D}` | what it is and took |
//! | POST `/v1/fork` | `{"directory"?}` | the fork's addresses |
//! | POST `/v1/restore` | `{"snapshot": D, "directory"?}` | the same |
//! | GET `/v1/forks` | | all that run |
//! | POST `/v1/forks/end` | `{"dynamodb": ADDRESS}` | `{}` |
//!
//! A refusal is `{"error": {"code", "message"}}`. `table` may be a stream's ARN; `account` and `region` tell tables of one
//! name apart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use headwater_delivery::Disturbance;
use headwater_types::{Millis, SequenceNumber};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Before, Control, Names, Refused, number};

/// Bodies are a few names; more is a mistake. Unit: bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The control API as it is served.
#[derive(Clone)]
pub(crate) struct Api {
    control: Control,
    token: std::sync::Arc<str>,
}

impl Api {
    pub fn new(control: Control, token: &str) -> Self {
        Self { control, token: token.into() }
    }

    /// Answers one request under `/v1/`.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.knows_token(&request) {
            let reason = "send the token that the server printed at its start: Authorization: Bearer TOKEN";
            return respond(Err(Refused::new("Unauthorized", reason)));
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return respond(Err(Refused::invalid(format!("a body has at most {BODY_BYTES_MAX} bytes"))));
        };
        let query = parts.uri.query().unwrap_or_default();
        respond(self.route(&parts.method, parts.uri.path(), query, &body.to_bytes()).await)
    }

    /// Compares in a time that does not tell how much of the token was right.
    fn knows_token(&self, request: &Request<Incoming>) -> bool {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let given = header.strip_prefix("Bearer ").unwrap_or_default().as_bytes();
        let wanted = self.token.as_bytes();
        let differs = given.iter().zip(wanted).fold(0, |differs, (a, b)| differs | (a ^ b));
        given.len() == wanted.len() && differs == 0
    }

    async fn route(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Result<Value, Refused> {
        let control = &self.control;
        if *method == Method::GET {
            let members = Members::of_query(query);
            return match path {
                "/v1/clock" => members.end(shown(&control.clock())?),
                "/v1/forks" => members.end(shown(&control.forks().await)?),
                "/v1/faults" => members.end(shown(&control.faults())?),
                "/v1/replications" => members.end(shown(&control.replications())?),
                "/v1/streams" => members.end(shown(&control.streams()?)?),
                "/v1/shards" => shown(&control.shards(&members.only_names()?)?),
                "/v1/heat" => shown(&control.heat(&members.only_names()?)?),
                _ => Err(unknown(method, path)),
            };
        }
        if *method != Method::POST {
            return Err(unknown(method, path));
        }
        let mut members = Members::of_body(body)?;
        match path {
            "/v1/clock/advance" => {
                let (by, to) = (members.text("by")?, members.text("to")?);
                members.all_taken()?;
                let clock = match (by, to) {
                    (Some(by), None) => control.advance(duration(&by)?).await?,
                    (None, Some(to)) => control.advance_to(moment(&to).ok_or_else(|| no_moment("to", &to))?).await?,
                    _ => {
                        return Err(Refused::invalid(
                            "say how far, as by: 25h, or until when, as to: 2030-01-31T12:00:00Z",
                        ));
                    }
                };
                shown(&clock)
            }
            "/v1/clock/freeze" => members.all_taken().map(|()| control.freeze())?.await.and_then(|clock| shown(&clock)),
            "/v1/clock/release" => {
                members.all_taken().map(|()| control.release())?.await.and_then(|clock| shown(&clock))
            }
            "/v1/split" => {
                let at = members.text("at")?.as_deref().map(hash).transpose()?;
                shown(&control.split(&members.only_names()?, at).await?)
            }
            "/v1/rollover" => Ok(json!({"rolled_over": control.roll_over(&members.only_names()?).await?})),
            "/v1/trim" => {
                let before = members.text("before")?.as_deref().map_or(Ok(Before::All), before)?;
                Ok(json!({"trimmed_shards": control.trim(&members.only_names()?, before).await?}))
            }
            "/v1/merge" => {
                let with = members.text("with")?;
                shown(&control.merge(&members.only_names()?, with.as_deref()).await?)
            }
            "/v1/expire-iterators" => {
                members.all_taken()?;
                control.expire_iterators().await.map(|()| json!({}))
            }
            "/v1/faults/add" => {
                let rule = serde_json::from_value(Value::Object(members.0.into_iter().collect()));
                shown(&control.add_fault(rule.map_err(|error| Refused::invalid(format!("no fault: {error}")))?)?)
            }
            "/v1/faults/remove" => {
                let id = members.0.remove("id").and_then(|id| id.as_u64());
                members.all_taken()?;
                control.remove_fault(id.ok_or_else(|| Refused::invalid("id: which fault"))?).map(|()| json!({}))
            }
            "/v1/replications/disturb" => {
                let (duplicates, reorders) = (members.share("duplicates")?, members.share("reorders")?);
                let seed = members.count("seed")?.unwrap_or_default();
                members.all_taken()?;
                let wanted = Disturbance { seed, duplicates, reorders };
                let disturbance = Some(wanted).filter(|wanted| wanted.duplicates > 0 || wanted.reorders > 0);
                control.disturb(disturbance).map(|()| json!({}))
            }
            "/v1/faults/clear" => {
                members.all_taken()?;
                Ok(json!({"cleared": control.clear_faults()}))
            }
            "/v1/snapshot" | "/v1/fork" | "/v1/restore" | "/v1/forks/end" => self.copies(path, members).await,
            _ => Err(unknown(method, path)),
        }
    }

    async fn copies(&self, path: &str, mut members: Members) -> Result<Value, Refused> {
        let control = &self.control;
        let wanted = |name: &str, what: &str| Refused::invalid(format!("{name}: {what}"));
        if path == "/v1/forks/end" {
            let address = members.text("dynamodb")?.unwrap_or_default();
            members.all_taken()?;
            let address = address.strip_prefix("http://").unwrap_or(&address).parse();
            let address = address.map_err(|_| wanted("dynamodb", "the address at which the fork serves DynamoDB"))?;
            return control.end_fork(address).await.map(|()| json!({}));
        }
        let directory = members.text("directory")?.map(PathBuf::from);
        let snapshot = members.text("snapshot")?.map(PathBuf::from);
        members.all_taken()?;
        match (path, snapshot, directory) {
            ("/v1/snapshot", None, Some(directory)) => shown(&control.snapshot(&directory).await?),
            ("/v1/snapshot", None, None) => {
                Err(wanted("directory", "a new or an empty folder of the server's machine"))
            }
            ("/v1/restore", Some(snapshot), directory) => shown(&control.restore(snapshot, directory).await?),
            ("/v1/restore", None, _) => Err(wanted("snapshot", "its folder")),
            (_, None, directory) => shown(&control.fork(directory).await?),
            (_, Some(_), _) => Err(Refused::invalid("there is no member snapshot here")),
        }
    }
}

/// Members of a body or of a query; what nobody takes is a mistake of the caller's.
struct Members(BTreeMap<String, Value>);

impl Members {
    fn of_body(body: &[u8]) -> Result<Self, Refused> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(BTreeMap::new()));
        }
        let parsed = serde_json::from_slice(body);
        parsed.map(Self).map_err(|error| Refused::invalid(format!("the body is no JSON object: {error}")))
    }

    fn of_query(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Refused> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Refused::invalid(format!("{name}: a text is wanted, not {other}"))),
        }
    }

    fn count(&mut self, name: &str) -> Result<Option<u64>, Refused> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let bad = || Refused::invalid(format!("{name}: a whole number is wanted, not {value}"));
                value.as_u64().ok_or_else(bad).map(Some)
            }
        }
    }

    /// Percent; none when nothing is said.
    fn share(&mut self, name: &str) -> Result<u8, Refused> {
        let count = self.count(name)?.unwrap_or_default();
        u8::try_from(count).map_err(|_| Refused::invalid(format!("{name}: {count} is more than 100 percent")))
    }

    /// What is named, when nothing else is said.
    fn only_names(mut self) -> Result<Names, Refused> {
        let table = self.text("table")?.unwrap_or_default();
        let names =
            Names { table, shard: self.text("shard")?, account: self.text("account")?, region: self.text("region")? };
        self.all_taken().map(|()| names)
    }

    fn all_taken(&self) -> Result<(), Refused> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refused::invalid(format!("there is no member {name} here"))),
        }
    }

    fn end(self, answer: Value) -> Result<Value, Refused> {
        self.all_taken().map(|()| answer)
    }
}

fn unknown(method: &Method, path: &str) -> Refused {
    Refused::not_found(format!("there is no {method} {path}"))
}

fn shown(view: &impl Serialize) -> Result<Value, Refused> {
    serde_json::to_value(view).map_err(|error| Refused::unavailable(error.to_string()))
}

/// A time span, as in `25h` or `1h 30m`.
fn duration(text: &str) -> Result<Duration, Refused> {
    if text.trim_start().starts_with('-') {
        return Err(Refused::invalid("store time never goes back"));
    }
    let bad = |error| Refused::invalid(format!("by: {error}; wanted is a span as in 25h, 90m, 1h 30m, 500ms"));
    humantime::parse_duration(text).map_err(bad)
}

/// A hash: up to 32 hex digits, as the shards' ranges are shown.
fn hash(text: &str) -> Result<u128, Refused> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = if hex { u128::from_str_radix(digits, 16).ok() } else { None };
    parsed.ok_or_else(|| Refused::invalid(format!("at: {text} is no hash of up to 32 hex digits")))
}

/// A sequence number, or a moment in store time as RFC 3339 has it.
fn before(text: &str) -> Result<Before, Refused> {
    if let Some(number) = number(text) {
        return Ok(Before::Number(number));
    }
    let bad =
        || Refused::invalid(format!("before: {text} is neither a sequence number nor a moment as RFC 3339 has it"));
    moment(text).map(|at| Before::Number(SequenceNumber::floor(at))).ok_or_else(bad)
}

/// A moment as RFC 3339 has it, in UTC.
fn moment(text: &str) -> Option<Millis> {
    let since = humantime::parse_rfc3339_weak(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Millis)
}

fn no_moment(member: &str, text: &str) -> Refused {
    Refused::invalid(format!("{member}: {text} is no moment as RFC 3339 has it, as in 2030-01-31T12:00:00Z"))
}

fn respond(answer: Result<Value, Refused>) -> Response<Full<Bytes>> {
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(refused) => (status(&refused), json!({"error": refused})),
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(refused: &Refused) -> StatusCode {
    match refused.code.as_str() {
        "Unauthorized" => StatusCode::UNAUTHORIZED,
        "NotFound" => StatusCode::NOT_FOUND,
        "Conflict" => StatusCode::CONFLICT,
        "Unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}
