//! A fuzzer that finds nothing proves nothing: faults put into a handler must be found, and nothing without them.

use std::time::Duration;

use headwater_fuzz::hunt;
use headwater_fuzz::planted::Bug;

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found() {
    let minute = Duration::from_secs(60);
    let cut = hunt(Bug::CutText, 1, minute).await.expect("it runs").expect("a panic is found");
    assert!(cut.contains("PutItem is answered 500") && cut.contains("panicked at"), "{cut}");
    println!("{cut}\n");
    let kept = hunt(Bug::KeptPermit, 1, minute).await.expect("it runs").expect("what is kept is found");
    assert!(kept.contains("gets no answer in"), "{kept}");
    println!("{kept}\n");
    let sound = hunt(Bug::None, 1, Duration::from_secs(2)).await.expect("it runs");
    assert_eq!(sound, None);
}
