//! Signature Version 4 by the official signer.

use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::http::Authority;
use crate::runner::KINESIS;

/// Who calls, and in which Region.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Access key, secret, perhaps a session token.
    pub credentials: Credentials,
    /// Region of the credential scope.
    pub region: String,
}

impl Signer {
    /// All headers of a signed request to `operation`.
    pub fn headers(&self, authority: &Authority, operation: &str, body: &[u8]) -> Result<Vec<(String, String)>> {
        let identity = self.credentials.clone().into();
        let kinesis = operation.starts_with(KINESIS);
        let (service, content_type) = if kinesis {
            ("kinesis", "application/x-amz-json-1.1")
        } else {
            ("dynamodb", "application/x-amz-json-1.0")
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .context("signing")?
            .into();
        let target = crate::http::target(operation);
        let headers = [("content-type", content_type), ("x-amz-target", &target)];
        let uri = format!("http://{}/", authority.host);
        let request = SignableRequest::new("POST", &uri, headers.into_iter(), SignableBody::Bytes(body));
        let (instructions, _) = sign(request.context("signing")?, &params).context("signing")?.into_parts();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut all = vec![owned(("host", &authority.host))];
        all.extend(headers.into_iter().map(owned));
        all.extend(instructions.headers().map(owned));
        Ok(all)
    }
}
