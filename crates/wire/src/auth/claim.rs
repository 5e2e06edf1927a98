//! What a request says about its signature: the Authorization header or the presigned query, taken apart.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, DATE, HeaderName, HeaderValue};

use super::canonical::{Parameter, parameters};
use super::{Code, Refusal};

static AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
static SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
static CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// A signature's parts, unchecked.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) algorithm: Cow<'a, str>,
    /// `keyid/date/region/service/aws4_request`.
    pub(crate) credential: Cow<'a, str>,
    pub(crate) signed_headers: Cow<'a, str>,
    pub(crate) signature: Cow<'a, str>,
    pub(crate) date: Cow<'a, str>,
    pub(crate) token: Option<Cow<'a, str>>,
    /// The payload is declared unsigned.
    pub(crate) unsigned_payload: bool,
    pub(crate) presigned: bool,
    /// Life of a presigned request. Unit: s.
    pub(crate) expires_s: Option<i64>,
}

fn refuse(code: Code, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Takes the signature's parts out of a request.
///
/// Errors: MissingAuthenticationToken without any, InvalidSignature with two, IncompleteSignature when parts are missing.
/// Source: observed by dynalite and kinesalite.
pub(crate) fn read<'a>(headers: &'a HeaderMap, query: &str) -> Result<Claim<'a>, Refusal> {
    let presigned = if query.contains("X-Amz-") { parameters(query) } else { Vec::new() };
    let in_query = presigned.iter().any(|(name, _)| name == b"X-Amz-Algorithm");
    match headers.get(AUTHORIZATION) {
        Some(_) if in_query => Err(refuse(
            Code::InvalidSignature,
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
        )),
        Some(header) => from_header(header, headers),
        None if in_query => from_query(&presigned, headers),
        None => Err(refuse(Code::MissingAuthenticationToken, "Request is missing Authentication Token")),
    }
}

fn from_header<'a>(header: &'a HeaderValue, headers: &'a HeaderMap) -> Result<Claim<'a>, Refusal> {
    let whole = header.to_str().unwrap_or_default().trim_ascii();
    if !whole.starts_with("AWS4-") {
        return Err(refuse(Code::MissingAuthenticationToken, "Request is missing Authentication Token"));
    }
    let (algorithm, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',').map(str::trim_ascii).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once('=') else {
            return Err(refuse(
                Code::IncompleteSignature,
                format!("'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{whole}'."),
            ));
        };
        match name.trim_ascii_end() {
            "Credential" => credential = Some(value.trim_ascii()),
            "SignedHeaders" => signed_headers = Some(value.trim_ascii()),
            "Signature" => signature = Some(value.trim_ascii()),
            // The service does not mind other members either.
            _ => {}
        }
    }
    let date = text(headers, &AMZ_DATE).or_else(|| headers.get(DATE).and_then(|date| date.to_str().ok()));
    let mut missing = String::new();
    for (name, part) in [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)] {
        if part.is_none_or(str::is_empty) {
            missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
        }
    }
    if date.is_none() {
        missing.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
    }
    match (credential, signed_headers, signature, date) {
        (Some(credential), Some(signed_headers), Some(signature), Some(date)) if missing.is_empty() => Ok(Claim {
            algorithm: algorithm.into(),
            credential: credential.into(),
            signed_headers: signed_headers.into(),
            signature: signature.into(),
            date: date.into(),
            token: text(headers, &SECURITY_TOKEN).map(Cow::Borrowed),
            // Only a signed statement counts: anyone could add the header on the way.
            unsigned_payload: text(headers, &CONTENT_SHA256) == Some("UNSIGNED-PAYLOAD")
                && signed_headers.split(';').any(|name| name == "x-amz-content-sha256"),
            presigned: false,
            expires_s: None,
        }),
        _ => Err(refuse(Code::IncompleteSignature, format!("{missing}Authorization={whole}"))),
    }
}

fn from_query<'a>(query: &[Parameter], headers: &'a HeaderMap) -> Result<Claim<'a>, Refusal> {
    let get = |wanted: &str| -> Option<String> {
        let (_, value) = query.iter().find(|(name, _)| name == wanted.as_bytes())?;
        String::from_utf8(value.clone()).ok().filter(|value| !value.is_empty())
    };
    let parts = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"]
        .map(|name| get(name).ok_or_else(|| format!("AWS query-string parameters must include '{name}'. ")));
    let missing: String = parts.iter().filter_map(|part| part.as_ref().err().map(String::as_str)).collect();
    let [Ok(algorithm), Ok(credential), Ok(signature), Ok(signed_headers), Ok(date)] = parts else {
        return Err(refuse(Code::IncompleteSignature, format!("{missing}Re-examine the query-string parameters.")));
    };
    let header_hash = signed_headers
        .split(';')
        .any(|name| name == "x-amz-content-sha256")
        .then(|| text(headers, &CONTENT_SHA256).map(str::to_owned))
        .flatten();
    Ok(Claim {
        algorithm: algorithm.into(),
        credential: credential.into(),
        signed_headers: signed_headers.into(),
        signature: signature.into(),
        date: date.into(),
        token: get("X-Amz-Security-Token").map(Cow::Owned),
        unsigned_payload: get("X-Amz-Content-Sha256").or(header_hash).as_deref() == Some("UNSIGNED-PAYLOAD"),
        presigned: true,
        expires_s: get("X-Amz-Expires").and_then(|text| text.parse().ok()),
    })
}
