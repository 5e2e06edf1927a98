//! The cost that shows before anything runs: what a request's future takes to hold.

use headwater_types::Millis;
use headwater_types::runtime::tokio_runtime;
use http_body_util::Full;

use super::*;
use crate::auth::Credentials;

struct NotBuilt;

impl dynamodb::DynamoDb for NotBuilt {}
impl dynamodb_streams::DynamoDbStreams for NotBuilt {}
impl kinesis::Kinesis for NotBuilt {}
impl firehose::Firehose for NotBuilt {}

/// It is copied once per request and kept per HTTP/2 stream. Unit: bytes.
const FUTURE_BYTES_MAX: usize = 4_096;

#[tokio::test]
async fn the_future_of_a_request_stays_small() {
    let runtime = tokio_runtime::on(tokio::runtime::Handle::current());
    let clock = Clock::new(runtime.clone(), Millis(0));
    let service = Arc::new(NotBuilt);
    let settings = Settings::default();
    let shared = Shared {
        room: BodyRoom::new(&settings),
        faults: Arc::default(),
        settings,
        services: Services {
            dynamodb: service.clone(),
            streams: service.clone(),
            kinesis: service.clone(),
            firehose: service,
        },
        authenticator: Authenticator::new(Credentials::Open(Arc::default())),
        authorizer: Arc::new(headwater_api::AllowAll),
        audit: Audit::off(),
        metrics: Arc::default(),
        runtime,
        clock,
    };
    let request = Request::post("/")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let future = answer(&shared, ApiSet::ALL, Peer { ip: None, is_secure: false }, request);
    let bytes = size_of_val(&future);
    println!("future of a request: {bytes} bytes");
    assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes");
    assert_eq!(future.await.status(), 400, "and it does what the wire does");
}
