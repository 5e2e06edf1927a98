use std::sync::Arc;
use std::time::Duration;

use headwater_api::{AllowAll, Api, Caller, Principal, Transport};
use headwater_types::runtime::simulated::World;

use super::*;

const PLACE: Place<'static> = Place { stream: StreamUid(1), name: "s", shard: ShardUid(2), index: 3 };

fn call() -> Call {
    let (api, operation) = Api::from_target("Kinesis_20131202.PutRecord").expect("an operation");
    let principal = Principal { account: "000000000000".into(), arn: String::new(), access_key: String::new() };
    let caller = Caller {
        principal: principal.into(),
        region: "us-east-1".into(),
        request_id: "".into(),
        api,
        operation,
        deadline: None,
        transport: Transport::default(),
    };
    Call::new(caller, Arc::new(AllowAll))
}

/// Runs `judge` over limits whose clock moves only as it says.
fn limited<F: Future<Output = ()> + Send + 'static>(judge: impl FnOnce(Limits, Clock, headwater_types::Runtime) -> F) {
    let world = World::new(1);
    let runtime = world.node(1);
    let clock = Clock::new(runtime.clone(), Millis(0));
    world.run(judge(Limits::new(clock.clone()), clock, runtime));
}

#[test]
fn a_shard_takes_a_thousand_records_a_second() {
    limited(async |limits, _, runtime| {
        let call = call();
        for _ in 0..3 {
            let taken = (0..1_200).filter(|_| limits.put(&call, PLACE, 1).is_ok()).count();
            assert_eq!(taken, 1_000);
            let other = Place { shard: ShardUid(9), ..PLACE };
            assert!(limits.put(&call, other, 1).is_ok(), "another shard has its own");
            runtime.sleep(Duration::from_millis(1_001)).await;
        }
        for _ in 0..1_000 {
            limits.put(&call, PLACE, 1).expect("within");
        }
        let refusal = limits.put(&call, PLACE, 1).expect_err("beyond");
        let text = "Rate exceeded for shard shardId-000000000003 in stream s under account 000000000000.";
        assert!(refusal.to_string().contains(text), "{refusal}");
    });
}

#[test]
fn a_shard_takes_a_mebibyte_a_second_and_a_record_of_the_greatest_size() {
    limited(async |limits, _, runtime| {
        let call = call();
        limits.put(&call, PLACE, 1_048_576 + 256).expect("the greatest");
        assert!(limits.put(&call, PLACE, 1).is_err());
        runtime.sleep(Duration::from_millis(10)).await;
        limits.put(&call, PLACE, 1_048_576).expect("the debt is worked off");
        runtime.sleep(Duration::from_millis(900)).await;
        assert!(limits.put(&call, PLACE, 1).is_err());
        runtime.sleep(Duration::from_millis(110)).await;
        limits.put(&call, PLACE, 1).expect("within");
    });
}

#[test]
fn ten_megabytes_read_block_a_shard_for_the_rest_of_five_seconds() {
    limited(async |limits, clock, runtime| {
        let call = call();
        let read = || (0..6).filter(|_| limits.read(&call, PLACE).is_ok()).count();
        assert_eq!(read(), 5, "calls a second");
        // Store time is another: a jump in it gives nothing back.
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(read(), 0);
        runtime.sleep(Duration::from_millis(1_001)).await;
        limits.read(&call, PLACE).expect("within");
        limits.gave(PLACE, 10 * 1_048_576);
        for _ in 0..3 {
            runtime.sleep(Duration::from_millis(1_300)).await;
            assert!(limits.read(&call, PLACE).is_err());
        }
        runtime.sleep(Duration::from_millis(200)).await;
        limits.read(&call, PLACE).expect("five seconds less the one that was saved");
        assert_eq!((0..6).filter(|_| limits.iterator(&call, PLACE).is_ok()).count(), 5);
    });
}

#[test]
fn streams_are_scaled_ten_times_and_change_their_mode_twice_a_day() {
    limited(async |limits, clock, _| {
        let (call, uid) = (call(), PLACE.stream);
        assert_eq!((0..12).filter(|_| limits.describe(&call, uid, "s").is_ok()).count(), 10);
        for _ in 0..2 {
            assert_eq!((0..12).filter(|_| limits.scale(uid, "s").is_ok()).count(), 10);
            assert_eq!((0..3).filter(|_| limits.mode(uid, "s").is_ok()).count(), 2);
            clock.advance(Duration::from_millis(86_399_000));
            assert!(limits.scale(uid, "s").is_err() && limits.mode(uid, "s").is_err());
            assert!(limits.scale(StreamUid(7), "t").is_ok(), "another stream has its own");
            clock.advance(Duration::from_millis(1_001));
        }
    });
}

#[test]
fn idle_shards_and_streams_are_forgotten() {
    limited(async |limits, clock, runtime| {
        let call = call();
        for at in 0..BUCKETS_MAX as u64 {
            limits.put(&call, Place { shard: ShardUid(at), ..PLACE }, 1).expect("within");
            limits.scale(StreamUid(at), "s").expect("within");
        }
        runtime.sleep(Duration::from_secs(2)).await;
        clock.advance(Duration::from_millis(86_400_000));
        limits.put(&call, PLACE, 1).expect("within");
        limits.scale(PLACE.stream, "s").expect("within");
        assert_eq!((limits.shards.lock().len(), limits.streams.lock().len()), (1, 1));
    });
}
