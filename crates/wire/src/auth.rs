//! Who calls: Signature Version 4 checked over the bytes as sent, in the service's order and with its texts.

mod canonical;
mod claim;
pub mod credentials;
mod sigv4;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_api::Principal;
use headwater_types::Millis;
use hmac::{Hmac, Mac};
use hyper::HeaderMap;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use claim::Claim;
pub use credentials::{Credential, Credentials};

/// Callers and their signing keys kept ready; beyond it all are forgotten and made again. Unit: callers. Source: ours.
const CALLERS_KEPT_MAX: usize = 1_024;

/// Why a signature is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    /// No signature at all.
    MissingAuthenticationToken,
    /// Parts are missing or not of their form.
    IncompleteSignature,
    /// Complete, and wrong.
    InvalidSignature,
    /// The key, or its session token, is not known.
    UnrecognizedClient,
}

/// A refused signature: its code and the service's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// A caller whose signature holds.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its ARN is `arn:aws:iam::{account}:user/{name}`: of the credential's principal, or the access key.
    pub(crate) principal: Arc<Principal>,
    /// From the signature's scope.
    pub(crate) region: Arc<str>,
}

/// A request as the signature sees it.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) authority: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    /// The body's bytes as sent, before a content encoding is undone.
    pub(crate) body: &'a [u8],
    /// `dynamodb`, `kinesis`, `firehose`.
    pub(crate) service: &'static str,
    pub(crate) now: Millis,
}

/// A caller with the signing key of one credential scope.
struct Known {
    caller: Arc<Caller>,
    /// None where any signature is accepted.
    key: Option<Hmac<Sha256>>,
    session_token: Option<Box<str>>,
}

/// Tells callers from their signatures.
pub(crate) struct Authenticator {
    credentials: Credentials,
    /// By credential (`keyid/date/region/service/aws4_request`), so that a signing key is derived once a day.
    known: RwLock<BTreeMap<Box<str>, Arc<Known>>>,
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { code: Code::InvalidSignature, message: message.into() }
}

fn unrecognized() -> Refusal {
    Refusal {
        code: Code::UnrecognizedClient,
        message: "The security token included in the request is invalid.".to_owned(),
    }
}

/// A name that is an ARN already stays one.
fn principal(account: &str, name: &str, access_key: &str) -> Arc<Principal> {
    let is_arn = name.starts_with("arn:");
    let arn = if is_arn { name.to_owned() } else { format!("arn:aws:iam::{account}:user/{name}") };
    Arc::new(Principal { account: account.into(), arn, access_key: access_key.to_owned() })
}

/// Equal, in a time that depends on the lengths only.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b))) == 0
}

impl Authenticator {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, known: RwLock::new(BTreeMap::new()) }
    }

    /// Tells who calls.
    ///
    /// Order: missing, incomplete, date, Host signed, algorithm, scope, key, signature, session token.
    /// Source: facts of the service observed by dynalite; errors as there.
    pub(crate) fn authenticate(&self, request: &Request<'_>) -> Result<Arc<Caller>, Refusal> {
        let claim = claim::read(request.headers, request.query)?;
        match &self.credentials {
            Credentials::Open(accounts) => self.accept(&claim, accounts),
            Credentials::Verified(keys) => {
                sigv4::check_form(&claim, request)?;
                let known = self.known_caller(&claim, request, keys)?;
                verify(&claim, request, &known)?;
                Ok(known.caller.clone())
            }
        }
    }

    /// The caller a credential names, for audit, whether or not its signature holds.
    pub(crate) fn named_key(headers: &HeaderMap, query: &str) -> Option<String> {
        let claim = claim::read(headers, query).ok()?;
        let key = claim.credential.split('/').next()?;
        (key.len() <= 128).then(|| key.to_owned())
    }

    fn accept(&self, claim: &Claim<'_>, accounts: &credentials::Accounts) -> Result<Arc<Caller>, Refusal> {
        if let Some(known) = self.known.read().get(&*claim.credential) {
            return Ok(known.caller.clone());
        }
        let scope = sigv4::Scope::parse(&claim.credential)?;
        if let Some(fault) = scope.region_fault() {
            return Err(invalid(fault));
        }
        let account = accounts.of(scope.key);
        let caller =
            Arc::new(Caller { principal: principal(account, scope.key, scope.key), region: scope.region.into() });
        self.remember(claim, Known { caller: caller.clone(), key: None, session_token: None });
        Ok(caller)
    }

    fn known_caller(
        &self,
        claim: &Claim<'_>,
        request: &Request<'_>,
        keys: &BTreeMap<String, Credential>,
    ) -> Result<Arc<Known>, Refusal> {
        if let Some(known) = self.known.read().get(&*claim.credential) {
            // The scope's service and date were right for another request; they must be for this one.
            sigv4::Scope::parse(&claim.credential)?.check(claim, request)?;
            return Ok(known.clone());
        }
        let scope = sigv4::Scope::parse(&claim.credential)?;
        scope.check(claim, request)?;
        let credential = keys.get(scope.key).ok_or_else(unrecognized)?;
        let caller = Arc::new(Caller {
            principal: principal(&credential.account, credential.principal.as_deref().unwrap_or(scope.key), scope.key),
            region: scope.region.into(),
        });
        Ok(self.remember(
            claim,
            Known {
                caller,
                key: Some(sigv4::signing_key(&credential.secret, &scope)),
                session_token: credential.session_token.as_deref().map(Box::from),
            },
        ))
    }

    fn remember(&self, claim: &Claim<'_>, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        let mut all = self.known.write();
        if all.len() >= CALLERS_KEPT_MAX {
            all.clear();
        }
        all.insert(claim.credential.as_ref().into(), known.clone());
        known
    }
}

fn verify(claim: &Claim<'_>, request: &Request<'_>, known: &Known) -> Result<(), Refusal> {
    let body_hash;
    let payload: &[u8] = if claim.unsigned_payload {
        b"UNSIGNED-PAYLOAD"
    } else {
        body_hash = canonical::hex(&Sha256::digest(request.body).into());
        &body_hash
    };
    let hash = canonical::request_hash(&canonical::Signed {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: request.headers,
        authority: request.authority,
        signed_headers: &claim.signed_headers,
        payload,
    });
    let (_, scope) = claim.credential.split_once('/').unwrap_or_default();
    let mut mac = known.key.clone().expect("callers of verified credentials have a signing key");
    for part in ["AWS4-HMAC-SHA256\n", &claim.date, "\n", scope.trim_end_matches('/'), "\n"] {
        mac.update(part.as_bytes());
    }
    mac.update(&canonical::hex(&hash));
    // A header that is not there hashes like an empty one, so it has to be there.
    let is_there = |name: &str| request.headers.contains_key(name) || (name == "host" && request.authority.is_some());
    let holds = canonical::unhex(&claim.signature).is_some_and(|given| mac.verify_slice(&given).is_ok())
        && claim.signed_headers.split(';').all(is_there);
    if !holds {
        return Err(invalid(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. \
             Consult the service documentation for details.",
        ));
    }
    let given: Option<&Cow<'_, str>> = claim.token.as_ref();
    let token_holds = match (&known.session_token, given) {
        (None, None) => true,
        (Some(wanted), Some(given)) => equal_in_constant_time(wanted.as_bytes(), given.as_bytes()),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if token_holds { Ok(()) } else { Err(unrecognized()) }
}
