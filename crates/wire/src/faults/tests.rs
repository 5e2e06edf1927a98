use super::*;

fn access(resource: &str) -> Access {
    Access { action: "dynamodb:PutItem", resource_arn: resource.to_owned(), condition_keys: Vec::new() }
}

const TABLE: &str = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders";

#[test]
fn a_rule_applies_to_its_table_with_its_indexes_and_streams_and_to_no_other() {
    let stream = format!("{TABLE}/stream/2026-01-01T00:00:00.000");
    let cases = [
        ("orders", TABLE, true),
        ("orders", &format!("{TABLE}/index/by-day"), true),
        ("orders", &stream, true),
        (TABLE, &stream, true),
        (&stream, &stream, true),
        (&stream, TABLE, false),
        ("order", TABLE, false),
        ("orders", &format!("{TABLE}-2"), false),
        ("orders", "*", false),
    ];
    for (wanted, arn, applies) in cases {
        let rule = FaultRule { resource: Some(wanted.to_owned()), ..FaultRule::of(FaultKind::Throttle) };
        assert_eq!(rule.applies(Api::DynamoDb, "PutItem", &[access(arn)]), applies, "{wanted} {arn}");
    }
    let streams = FaultRule { api: Some(FaultApi::Streams), ..FaultRule::of(FaultKind::Drop) };
    assert!(streams.applies(Api::DynamoDbStreams, "GetRecords", &[]));
    assert!(!streams.applies(Api::DynamoDb, "PutItem", &[]));
    assert!(!FaultRule::of(FaultKind::Conflict).applies(Api::DynamoDb, "Query", &[]));
}

#[test]
fn a_seed_hits_the_same_calls_again_and_about_as_many_as_asked_for() {
    let hits = |seed: u64, rate: f64| {
        let rule = FaultRule { seed, rate, ..FaultRule::of(FaultKind::Internal) };
        (0..10_000).filter(|number| rule.draw(*number)).collect::<Vec<u64>>()
    };
    assert_eq!(hits(7, 0.1), hits(7, 0.1));
    assert_ne!(hits(7, 0.1), hits(8, 0.1));
    for (rate, least, most) in [(0.1, 900, 1_100), (0.5, 4_800, 5_200), (1.0, 10_000, 10_000)] {
        assert!((least..=most).contains(&hits(1, rate).len()), "{rate}: {}", hits(1, rate).len());
    }
}

#[test]
fn delays_add_up_the_first_of_the_others_hits_and_a_bounded_rule_ends() {
    let faults = Faults::default();
    let slow = |ms| FaultRule { latency_ms: Some(ms), ..FaultRule::of(FaultKind::Latency) };
    faults.add(slow(20)).expect("a rule");
    faults.add(FaultRule { times: Some(2), ..FaultRule::of(FaultKind::Throttle) }).expect("a rule");
    let last = faults.add(FaultRule::of(FaultKind::Internal)).expect("a rule").id;
    faults.add(slow(5)).expect("a rule");
    let kinds: Vec<_> = (0..4)
        .map(|_| {
            let decided = faults.decide(Api::DynamoDb, "GetItem", &[access(TABLE)]);
            assert_eq!(decided.delay, Duration::from_millis(25));
            decided.then.map(|(kind, _)| kind)
        })
        .collect();
    let (throttle, internal) = (Some(FaultKind::Throttle), Some(FaultKind::Internal));
    assert_eq!(kinds, [throttle, throttle, internal, internal]);
    let fired: Vec<u64> = faults.list().iter().map(|state| state.fired).collect();
    assert_eq!(fired, [4, 2, 2, 4]);
    assert!(faults.remove(last) && !faults.remove(last));
    assert_eq!((faults.clear(), faults.clear(), faults.list().len()), (3, 0, 0));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let faults = Faults::default();
    let good = FaultRule::of(FaultKind::Throttle);
    let bad = [
        (FaultRule { rate: 0.0, ..good.clone() }, "rate"),
        (FaultRule { rate: 1.5, ..good.clone() }, "rate"),
        (FaultRule { rate: f64::NAN, ..good.clone() }, "rate"),
        (FaultRule { times: Some(0), ..good.clone() }, "times"),
        (FaultRule { latency_ms: Some(5), ..good.clone() }, "goes with the kind latency"),
        (FaultRule { kind: FaultKind::Latency, ..good.clone() }, "1 to 600000"),
        (FaultRule { kind: FaultKind::Latency, latency_ms: Some(0), ..good.clone() }, "1 to 600000"),
        (FaultRule { resource: Some(String::new()), ..good.clone() }, "resource"),
        (FaultRule { operation: Some("Put".to_owned()), ..good.clone() }, "there is no Put"),
        (
            FaultRule { operation: Some("PutItem".to_owned()), api: Some(FaultApi::Streams), ..good.clone() },
            "there is no PutItem",
        ),
        (FaultRule { kind: FaultKind::Conflict, operation: Some("Query".to_owned()), ..good }, "meets no conflicts"),
    ];
    for (rule, reason) in bad {
        let said = faults.add(rule.clone()).expect_err("refused");
        assert!(said.contains(reason), "{rule:?}: {said}");
    }
    assert!(faults.list().is_empty());
}
