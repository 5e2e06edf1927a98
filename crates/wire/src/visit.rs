//! One request from its head to its response, in the service's order: target, signature, types, constraints, operation.

mod record;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use headwater_api::{
    Api, Authorizer, Call, Caller, Document, Error, Reply, Transport, codes, dynamodb, dynamodb_streams, firehose,
    json, kinesis,
};
use headwater_types::{Clock, Runtime};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response};

use crate::audit::Audit;
use crate::auth::{self, Authenticator};
use crate::compression::{self, InflateError};
use crate::faults::{FaultKind, Faults};
use crate::metrics::Metrics;
use crate::protocol::cbor;
use crate::protocol::event_stream::EventBody;
use crate::request::{self, BodyError, BodyRoom};
use crate::response::{Answer, Body, Payload};
use crate::server::Services;
use crate::settings::Settings;
use crate::target::{ApiSet, Destination, Format};
use crate::{cors, foreign, request_id, response, target};
use record::Record;

/// What all requests of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) runtime: Runtime,
    pub(crate) clock: Clock,
    pub(crate) room: BodyRoom,
    pub(crate) faults: Arc<Faults>,
}

/// Room for an answer in JSON; most need no more. Unit: bytes. Source: ours.
const ANSWER_BYTES: usize = 2 * 1_024;

/// The other side of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) is_secure: bool,
}

fn text(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A response that bears this is not sent: its connection ends instead, or its stream in HTTP/2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost as a fault asks for")
    }
}

impl std::error::Error for Lost {}

/// Answers one request.
pub(crate) async fn answer<B>(shared: &Shared, apis: ApiSet, peer: Peer, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let destination = target::find(&head.method, head.uri.path(), &head.headers, body.is_end_stream(), apis);
    let (api, operation) = match destination {
        Destination::Operation { api, operation, .. } => (api, Some(operation)),
        Destination::UnknownOperation { api, .. } => (api, None),
        _ => (apis.first(), None),
    };
    let id = request_id::next(api, &shared.runtime);
    let mut record = Record::open(shared, peer, &head, api, operation, &id);
    let answer = decide(shared, peer, &head, body, destination, &id, &mut record).await;
    record.answered(answer.status, answer.code);
    let is_lost = answer.is_lost;
    let (mut response, sent_bytes) = response::finish(answer, &head.headers, &id, &shared.runtime).await;
    if shared.settings.cors {
        if destination == Destination::Preflight {
            cors::answer_preflight(&head.headers, response.headers_mut());
        } else {
            cors::expose(&head.headers, response.headers_mut());
        }
    }
    if is_lost {
        response.extensions_mut().insert(Lost);
    }
    record.sent(if is_lost { 0 } else { sent_bytes });
    response
}

async fn decide<B>(
    shared: &Shared,
    peer: Peer,
    head: &Parts,
    body: B,
    destination: Destination,
    id: &Arc<str>,
    record: &mut Record<'_>,
) -> Answer
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let format = match destination {
        Destination::Operation { format, .. } | Destination::UnknownOperation { format, .. } => format,
        _ => Format::Json10,
    };
    let fail = |error: &Error| Answer::error(error, record.api(), format);
    if request::head_bytes(head) > shared.settings.head_bytes_max {
        return Answer::new(400, None, Bytes::new()).with_code("RequestHeadTooLarge").last();
    }
    if record.is_overload() {
        return fail(&Error::new(codes::SERVICE_UNAVAILABLE, "Too many requests are being answered.")).last();
    }
    match destination {
        Destination::Health => return health(shared, head, record.api()),
        Destination::Preflight if shared.settings.cors => return Answer::new(200, None, Bytes::new()),
        _ => {}
    }
    // Read for whatever it is: only so can the connection be used again.
    let is_gzip = compression::is_gzip(&head.headers);
    let received = match request::read_body(body, is_gzip, &shared.settings, &shared.room, &shared.runtime).await {
        Ok(received) => received,
        Err(BodyError::TooLarge) => return fail(&too_large()).last(),
        Err(BodyError::TimedOut) => {
            return Answer::new(408, None, Bytes::new()).with_code("RequestTimeoutException").last();
        }
        Err(BodyError::Lost) => return Answer::new(400, None, Bytes::new()).with_code("ClientDisconnected").last(),
    };
    record.received(received.bytes.len() as u64);
    match destination {
        Destination::Operation { api, operation, format } => {
            let called = Called { api, operation, format, id };
            match call(shared, peer, head, &called, received.bytes.clone(), is_gzip, record).await {
                Ok(answer) => answer,
                Err(error) => {
                    report(&error, &called);
                    Answer::error(&error, api, format)
                }
            }
        }
        Destination::UnknownOperation { api, format } => Answer::error(&Error::unknown_operation(), api, format),
        Destination::Query => foreign::query(&received.bytes, id),
        Destination::RpcCbor => foreign::rpc_cbor(head.uri.path()),
        Destination::Health | Destination::Preflight | Destination::Nothing => Answer::nothing(),
    }
}

fn too_large() -> Error {
    Error::new(codes::REQUEST_ENTITY_TOO_LARGE, "Request entity too large.")
}

/// `GET /`. Source: facts, "GET /", used by load balancers' probes.
fn health(shared: &Shared, head: &Parts, api: Api) -> Answer {
    let text = format!("healthy: {}.{}.amazonaws.com ", api.endpoint_prefix(), shared.settings.region);
    let body = if head.method == Method::HEAD { Bytes::new() } else { Bytes::from(text) };
    Answer::new(200, Some(HeaderValue::from_static("text/plain")), body)
}

/// An operation and how it was called.
struct Called<'a> {
    api: Api,
    operation: &'static str,
    format: Format,
    id: &'a Arc<str>,
}

/// What a client is not told goes to the log.
fn report(error: &Error, called: &Called<'_>) {
    if error.code().is_fault() {
        let (operation, request_id) = (called.operation, &**called.id);
        let cause = error.cause().unwrap_or_else(|| error.message().unwrap_or_default());
        tracing::error!(operation, request_id, code = error.name(), cause, "a call failed");
    }
}

async fn call(
    shared: &Shared,
    peer: Peer,
    head: &Parts,
    called: &Called<'_>,
    body: Bytes,
    is_gzip: bool,
    record: &mut Record<'_>,
) -> Result<Answer, Error> {
    let caller = authenticate(shared, head, called.api, &body).inspect_err(|_| record.refused(head))?;
    let plain = if is_gzip { inflate(shared, body).await? } else { body };
    let gate = shared.faults.gate(called.api, called.operation, &shared.authorizer);
    let authorizer = match &gate {
        None => shared.authorizer.clone(),
        Some(gate) => gate.clone(),
    };
    let call = Call::new(
        Caller {
            principal: caller.principal.clone(),
            region: caller.region.clone(),
            request_id: called.id.clone(),
            api: called.api,
            operation: called.operation,
            deadline: None,
            transport: Transport {
                secure: peer.is_secure,
                peer: peer.ip,
                user_agent: text(&head.headers, USER_AGENT).map(str::to_owned),
                host: host(head).map(str::to_owned),
            },
        },
        authorizer,
    );
    let call = record.begun(caller, call);
    let first = guarded(shared, call, called.format, &plain).await;
    let Some(decided) = gate.and_then(|gate| gate.decided()) else { return first };
    if let Some(error) = decided.error(called.api, called.operation, &plain) {
        if !decided.delay.is_zero() {
            shared.runtime.sleep(decided.delay).await;
        }
        return Err(error);
    }
    let then = decided.then.map(|(kind, _)| kind);
    let mut answer = first;
    if !decided.delay.is_zero() {
        shared.runtime.sleep(decided.delay).await;
        if then != Some(FaultKind::Drop) {
            // It was held before it did anything. Boxed: calls without faults do not carry room for it.
            answer = Box::pin(guarded(shared, call, called.format, &plain)).await;
        }
    }
    if then.is_some() { Ok(Answer::lost()) } else { answer }
}

/// Runs the operation.
async fn guarded(shared: &Shared, call: &Call, format: Format, body: &[u8]) -> Result<Answer, Error> {
    // A panic is this request's alone: nothing of it is used afterwards but the call's list of resources.
    let run = AssertUnwindSafe(run(shared, call, format, body)).catch_unwind();
    match run.await {
        Ok(result) => result,
        Err(panic) => {
            shared.metrics.panics.add(1);
            let told = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Err(Error::internal(format_args!("panic: {}", told.unwrap_or("(no text)"))))
        }
    }
}

fn host(head: &Parts) -> Option<&str> {
    text(&head.headers, HOST).or_else(|| head.uri.authority().map(|authority| authority.as_str()))
}

fn authenticate(shared: &Shared, head: &Parts, api: Api, body: &[u8]) -> Result<Arc<auth::Caller>, Error> {
    let request = auth::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        headers: &head.headers,
        body,
        service: api.signing_name(),
        now: shared.clock.system(),
    };
    shared.authenticator.authenticate(&request).map_err(|refusal| {
        let code = match refusal.code {
            auth::Code::MissingAuthenticationToken => codes::MISSING_AUTHENTICATION_TOKEN,
            auth::Code::IncompleteSignature => codes::INCOMPLETE_SIGNATURE,
            auth::Code::InvalidSignature => codes::INVALID_SIGNATURE,
            auth::Code::UnrecognizedClient => codes::UNRECOGNIZED_CLIENT,
        };
        Error::new(code, refusal.message)
    })
}

async fn inflate(shared: &Shared, body: Bytes) -> Result<Bytes, Error> {
    let bytes_max = shared.settings.body_bytes_max;
    let inflated = if body.len() <= compression::INLINE_BYTES_MAX / 16 {
        compression::inflate(&body, bytes_max)
    } else {
        let work = move || compression::inflate(&body, bytes_max);
        shared.runtime.blocking(work).await.map_err(Error::internal)?
    };
    inflated.map_err(|error| match error {
        InflateError::Malformed => Error::unparsable(),
        InflateError::TooLarge => too_large(),
    })
}

/// Decodes, routes and encodes: all that may panic because of what a client sent or an operation does.
async fn run(shared: &Shared, call: &Call, format: Format, body: &[u8]) -> Result<Answer, Error> {
    let document = match format {
        Format::Json10 | Format::Json11 | Format::Json => Document::from_json(body)?,
        Format::Cbor11 => {
            refuse_pushed_cbor(call)?;
            cbor::read(body).map_err(|cause| Error::unparsable().with_cause(cause))?
        }
    };
    let services = &shared.services;
    let routed = match call.api {
        Api::DynamoDb => dynamodb::dispatch(&*services.dynamodb, call, call.operation, document),
        Api::DynamoDbStreams => dynamodb_streams::dispatch(&*services.streams, call, call.operation, document),
        Api::Kinesis => kinesis::dispatch(&*services.kinesis, call, call.operation, document),
        Api::Firehose => firehose::dispatch(&*services.firehose, call, call.operation, document),
    };
    let content_type = Some(format.content_type());
    Ok(match (routed.await?, call.api) {
        (Reply::Body(value), _) if format == Format::Cbor11 => {
            let mut writer = cbor::Writer::default();
            value.encode(&mut writer);
            Answer::new(200, content_type, writer.into_bytes())
        }
        (Reply::Body(value), _) => {
            let mut writer = json::Writer::with_capacity(ANSWER_BYTES);
            value.encode(&mut writer);
            Answer::new(200, content_type, writer.finish()?)
        }
        (Reply::Empty, Api::DynamoDb | Api::DynamoDbStreams) => {
            Answer::new(200, content_type, Bytes::from_static(b"{}"))
        }
        (Reply::Empty, Api::Kinesis | Api::Firehose) => Answer::new(200, content_type, Bytes::new()),
        (Reply::Events(events), api) => {
            let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
            let mut answer = Answer::new(200, Some(kind), Bytes::new());
            answer.body = Payload::Events(EventBody::new(events, api, shared.metrics.clone()));
            answer
        }
    })
}

/// Events are pushed in JSON only: clients that send everything else in CBOR ask for them in JSON.
/// Source: "Wire", facts of Kinesis: AWS answers SubscribeToShard in CBOR with status 500.
fn refuse_pushed_cbor(call: &Call) -> Result<(), Error> {
    if call.operation == "SubscribeToShard" {
        return Err(Error::internal("SubscribeToShard is not spoken in CBOR"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
