//! One call: who makes it, where, and what it was allowed to touch.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::{Access, Authorizer};
use crate::api::Api;
use crate::error::Error;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Twelve digits.
    pub account: Arc<str>,
    /// `arn:aws:iam::{account}:user/{name}` or the like.
    pub arn: String,
    /// Access key of the signature; empty when the call bore none.
    pub access_key: String,
}

/// How the call came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Whether it came encrypted.
    pub secure: bool,
    /// Address of the other side.
    pub peer: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// `Host` of the request: DescribeEndpoints answers with it.
    pub host: Option<String>,
}

/// What a call is made of.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who calls.
    pub principal: Arc<Principal>,
    /// Region of the signature's scope.
    pub region: Arc<str>,
    /// Id that answer, log and audit share.
    pub request_id: Arc<str>,
    /// API of the target.
    pub api: Api,
    /// Operation of the target.
    pub operation: &'static str,
    /// When to give up. Unit: time of `types::Clock::monotonic`; `None` waits as long as the client does.
    pub deadline: Option<Duration>,
    /// How it came.
    pub transport: Transport,
}

/// One call in flight.
pub struct Call {
    caller: Caller,
    authorizer: Arc<dyn Authorizer>,
    authorized: AtomicBool,
    resources: Mutex<Vec<String>>,
}

impl std::ops::Deref for Call {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Call {
    /// A call that has not been authorised yet.
    pub fn new(caller: Caller, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { caller, authorizer, authorized: AtomicBool::new(false), resources: Mutex::new(Vec::new()) }
    }

    /// Asks for all accesses of the operation; called by each operation after parsing and before any look-up.
    ///
    /// Shape:  the resources are recorded for the audit line whatever the answer is.
    /// Errors: AccessDeniedException.
    pub fn authorize(&self, accesses: &[Access]) -> Result<(), Error> {
        {
            let mut resources = self.resources();
            for access in accesses {
                if access.resource_arn != "*" && !resources.contains(&access.resource_arn) {
                    resources.push(access.resource_arn.clone());
                }
            }
        }
        self.authorizer.authorize(&self.caller.principal, accesses)?;
        self.authorized.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the operation has asked and was allowed.
    pub fn is_authorized(&self) -> bool {
        self.authorized.load(Ordering::Acquire)
    }

    /// ARNs of the resources the call asked for, in order of first mention.
    pub fn resources(&self) -> MutexGuard<'_, Vec<String>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
