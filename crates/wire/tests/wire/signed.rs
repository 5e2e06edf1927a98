//! With credentials configured: requests signed by the official signer, over the wire.

use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use headwater_wire::{ApiSet, Credentials};

use crate::client::put;
use crate::world::World;

const BODY: &str = "{\"TableName\":\"t\",\"Item\":{\"k\":{\"S\":\"v\"}}}";

fn signed(host: &str, secret: &str, age_s: u64) -> String {
    let identity = aws_credential_types::Credentials::new("AKIDA", secret, None, None, "test").into();
    #[allow(clippy::disallowed_methods, reason = "the server compares with the real clock")]
    let now = SystemTime::now() - std::time::Duration::from_secs(age_s);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("dynamodb")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.PutItem")];
    let uri = format!("http://{host}/");
    let request =
        SignableRequest::new("POST", &uri, headers.into_iter(), SignableBody::Bytes(BODY.as_bytes())).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    lines.extend(instructions.headers().map(|(name, value)| format!("{name}: {value}\r\n")));
    format!("POST / HTTP/1.1\r\nhost: {host}\r\n{}content-length: {}\r\n\r\n{BODY}", lines.concat(), BODY.len())
}

#[tokio::test]
async fn only_signed_requests_come_through() {
    let world = World::start_with(ApiSet::ALL, |parts| {
        parts.credentials = Credentials::from_text("AKIDA, secret, 111122223333, alice").unwrap();
    })
    .await;
    let mut connection = world.connect().await;
    let host = world.address.to_string();
    for _ in 0..2 {
        let reply = connection.exchange(signed(&host, "secret", 0).as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let seen = world.service.seen.lock().pop().unwrap();
    assert_eq!((seen.account.as_str(), seen.region.as_str()), ("111122223333", "eu-west-1"));
    assert_eq!(seen.arn, "arn:aws:iam::111122223333:user/alice");
    world.service.seen.lock().clear();
    let good = signed(&host, "secret", 0);
    let mut refused = 0;
    for (bytes, error) in [
        (signed(&host, "guess", 0), "InvalidSignatureException"),
        (signed(&host, "secret", 400), "InvalidSignatureException"),
        (good.replace("\"v\"", "\"w\""), "InvalidSignatureException"),
        (good.replace("PutItem", "GetItem"), "InvalidSignatureException"),
        (good.replace("AKIDA", "AKIDB"), "UnrecognizedClientException"),
        (good.replace("authorization:", "x-other:"), "MissingAuthenticationTokenException"),
        (String::from_utf8(put("t")).unwrap(), "InvalidSignatureException"),
    ] {
        let reply = connection.exchange(bytes.as_bytes()).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error));
        refused += 1;
    }
    assert!(world.service.seen.lock().is_empty(), "nothing unsigned reaches an operation");
    println!("signed calls accepted: 2, others refused: {refused}");
}
