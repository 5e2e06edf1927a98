//! The slice of the fuzzers that every run of the tests has.

use std::time::Duration;

/// Seconds of the slice; `HEADWATER_FUZZ_SECONDS` takes another time.
const SECONDS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_breaks_the_server() {
    let seconds = std::env::var("HEADWATER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let report = headwater_fuzz::run(1, Duration::from_secs(seconds)).await.unwrap_or_else(|why| panic!("{why}"));
    println!("{report}");
    assert!(report.idle().is_empty(), "nothing was counted of {:?}", report.idle());
    assert!(report.bodies.requests >= 2_000, "only {} requests", report.bodies.requests);
    assert!(report.bodies.answered.len() >= 15, "only {:?} were reached", report.bodies.answered.keys());
    assert!(report.bodies.refused.len() >= 5, "only {:?}", report.bodies.refused.keys());
}
