//! What is counted and audited of a request, whatever becomes of it: also when its client goes away in the middle.

use std::sync::Arc;
use std::time::Duration;

use headwater_api::{Api, Call};
use headwater_types::Millis;
use hyper::header::USER_AGENT;
use hyper::http::request::Parts;

use super::{Peer, Shared};
use crate::audit::Line;
use crate::auth::{Authenticator, Caller};

/// Status of a request whose client went away first; never sent. Source: nginx' custom.
const STATUS_GONE: u16 = 499;

/// A request being answered. Dropped unanswered, it is recorded as left by its client.
pub(super) struct Record<'a> {
    shared: &'a Shared,
    peer: Peer,
    head: &'a Parts,
    api: Api,
    operation: Option<&'static str>,
    id: &'a str,
    at: Millis,
    started: Duration,
    is_overload: bool,
    caller: Option<Arc<Caller>>,
    /// Access key of a signature that did not hold.
    claimed_key: Option<String>,
    call: Option<Box<Call>>,
    status: u16,
    code: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
}

impl<'a> Record<'a> {
    pub(super) fn open(
        shared: &'a Shared,
        peer: Peer,
        head: &'a Parts,
        api: Api,
        operation: Option<&'static str>,
        id: &'a str,
    ) -> Self {
        let running = shared.metrics.requests_running.rise();
        Self {
            shared,
            peer,
            head,
            api,
            operation,
            id,
            at: shared.clock.system(),
            started: shared.clock.monotonic(),
            is_overload: running > shared.settings.requests_max as u64,
            caller: None,
            claimed_key: None,
            call: None,
            status: STATUS_GONE,
            code: Some("ClientDisconnected"),
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(super) fn api(&self) -> Api {
        self.api
    }

    pub(super) fn is_overload(&self) -> bool {
        self.is_overload
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.bytes_in = bytes;
    }

    /// The signature was refused: the line still names the key it claimed.
    pub(super) fn refused(&mut self, head: &Parts) {
        self.claimed_key = Authenticator::named_key(&head.headers, head.uri.query().unwrap_or_default());
    }

    /// The caller is known and the operation begins.
    pub(super) fn begun(&mut self, caller: Arc<Caller>, call: Call) -> &Call {
        self.caller = Some(caller);
        self.call.insert(Box::new(call))
    }

    pub(super) fn answered(&mut self, status: u16, code: Option<&'static str>) {
        (self.status, self.code) = (status, code);
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.bytes_out = bytes;
    }

    /// `GET /` and preflights come by the second and say nothing.
    fn is_worth_a_line(&self) -> bool {
        self.operation.is_some() || self.status != 200
    }

    fn audit(&self, took: Duration) {
        let resources = self.call.as_ref().map(|call| call.resources());
        let caller = self.caller.as_deref();
        let principal = caller.map(|caller| &*caller.principal);
        self.shared.audit.record(&Line {
            at: self.at,
            api: self.api,
            operation: self.operation,
            request_id: self.id,
            principal: principal.map_or("", |principal| &*principal.arn),
            access_key: principal.map_or(self.claimed_key.as_deref().unwrap_or_default(), |known| &*known.access_key),
            account: principal.map_or("", |principal| &*principal.account),
            region: caller.map_or("", |caller| &*caller.region),
            source: self.peer.ip,
            user_agent: self.head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            resources: resources.as_deref().map_or(&[], Vec::as_slice),
            code: self.code,
            status: self.status,
            took,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        });
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let metrics = &self.shared.metrics;
        metrics.requests_running.fall();
        metrics.bytes_in.add(self.bytes_in);
        metrics.bytes_out.add(self.bytes_out);
        if self.is_overload {
            metrics.requests_overload.add(1);
        }
        let took = self.shared.clock.monotonic().saturating_sub(self.started);
        match self.operation {
            Some(operation) => metrics.answered(self.api, operation, self.status, self.code, took),
            None if self.status != 200 => metrics.requests_unrouted.add(1),
            None => {}
        }
        if self.shared.audit.is_on() && self.is_worth_a_line() {
            self.audit(took);
        }
    }
}
