//! Form, date and scope of a signature, and the key it is made with.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::claim::Claim;
use super::{Code, Refusal, Request, invalid};
use crate::calendar;

/// How far a caller's clock may be off. Unit: s. Source: "Signature expired … - 5 min.", texts of the service.
const SKEW_S: i64 = 5 * 60;
/// How long a presigned request holds at most. Unit: s. Source: "Signature expired … - 15 min.", texts of the service.
const PRESIGNED_LIFE_S: i64 = 15 * 60;

fn incomplete(message: String) -> Refusal {
    Refusal { code: Code::IncompleteSignature, message }
}

/// Checks date, signed headers and algorithm.
///
/// Order: date's form, expiry, Host signed, algorithm.
/// Source: observed by dynalite.
pub(super) fn check_form(claim: &Claim<'_>, request: &Request<'_>) -> Result<(), Refusal> {
    let date = &claim.date;
    let Some(made) = calendar::parse_basic(date) else {
        return Err(incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )));
    };
    let now = request.now.seconds();
    let life = match (claim.presigned, claim.expires_s) {
        (true, Some(asked)) => asked.clamp(0, PRESIGNED_LIFE_S),
        (true, None) => PRESIGNED_LIFE_S,
        (false, _) => SKEW_S,
    };
    if made < now - life {
        let (earliest, at) = (calendar::basic(now - life), calendar::basic(now));
        return Err(invalid(format!(
            "Signature expired: {date} is now earlier than {earliest} ({at} - {}.)",
            duration(life)
        )));
    }
    if made > now + SKEW_S {
        let (latest, at) = (calendar::basic(now + SKEW_S), calendar::basic(now));
        return Err(invalid(format!(
            "Signature not yet current: {date} is still later than {latest} ({at} + {}.)",
            duration(SKEW_S)
        )));
    }
    let signed = |wanted: &str| claim.signed_headers.split(';').any(|name| name == wanted);
    if !signed("host") {
        return Err(invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    }
    // What is not signed could be changed on the way: the operation, the date, the statement about the payload.
    for (name, shown) in [("x-amz-target", "X-Amz-Target"), ("x-amz-date", "X-Amz-Date")] {
        if request.headers.contains_key(name) && !signed(name) {
            return Err(invalid(format!("'{shown}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    if claim.algorithm != "AWS4-HMAC-SHA256" {
        return Err(incomplete(format!("Unsupported AWS 'algorithm': '{}'. ", claim.algorithm)));
    }
    Ok(())
}

fn duration(seconds: i64) -> String {
    if seconds % 60 == 0 { format!("{} min", seconds / 60) } else { format!("{seconds} s") }
}

/// A credential's five elements.
pub(super) struct Scope<'a> {
    pub(super) key: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
}

impl<'a> Scope<'a> {
    /// Errors: IncompleteSignature when there are not exactly five elements.
    pub(super) fn parse(credential: &'a str) -> Result<Self, Refusal> {
        // Trailing slashes are ignored (observed by dynalite).
        let mut elements = credential.trim_end_matches('/').split('/');
        let mut next = || elements.next();
        match (next(), next(), next(), next(), next(), next()) {
            (Some(key), Some(date), Some(region), Some(service), Some(terminator), None) => {
                Ok(Self { key, date, region, service, terminator })
            }
            _ => Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, \
                 got '{credential}'"
            ))),
        }
    }

    /// A sentence when the region could not be one. It becomes part of ARNs and of stored names; capitals are let in
    /// because local set-ups use names such as `fakeRegion`.
    pub(super) fn region_fault(&self) -> Option<String> {
        let region_like = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_region = (1..=64).contains(&self.region.len()) && self.region.bytes().all(region_like);
        (!is_region).then(|| format!("Credential should be scoped to a valid region, not '{}'. ", self.region))
    }

    /// Errors: InvalidSignature, one sentence for each element that is wrong.
    pub(super) fn check(&self, claim: &Claim<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        let mut wrong = String::new();
        wrong.push_str(&self.region_fault().unwrap_or_default());
        if self.service != request.service {
            wrong.push_str(&format!("Credential should be scoped to correct service: '{}'. ", request.service));
        }
        if self.terminator != "aws4_request" {
            wrong.push_str(&format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'. ",
                self.terminator
            ));
        }
        let day = claim.date.get(..8).unwrap_or_default();
        if self.date != day {
            wrong.push_str(&format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{}' != '{day}', from '{}'. ",
                self.date, claim.date
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(invalid(wrong)) }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("an HMAC takes a key of any length")
}

fn derive(key: &[u8], part: &str) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(part.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The signing key of a secret and a scope, ready to take the string to sign.
pub(super) fn signing_key(secret: &str, scope: &Scope<'_>) -> Hmac<Sha256> {
    let by_date = derive(format!("AWS4{secret}").as_bytes(), scope.date);
    let by_region = derive(&by_date, scope.region);
    let by_service = derive(&by_region, scope.service);
    keyed(&derive(&by_service, scope.terminator))
}
