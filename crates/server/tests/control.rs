//! The control API: in the process, over HTTP, and through `headwater ctl`.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::time::Duration;

use headwater_server::{Before, Config, Names, start_in_process};
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::json;

use lab::{TOKEN, api, call, ctl, definition, dynamodb, iterator, records, send, started, streams, table};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn shards_the_clock_and_the_retention_are_in_the_tests_hand() {
    let server = started().await;
    let control = server.control();
    let arn = table(&server).await;
    let lab = Names::table("lab");
    let list = control.shards(&lab).expect("listed");
    assert_eq!((list.shards.len(), list.stream.arn.as_str()), (4, arn.as_str()));
    let first = list.shards[0].id.clone();

    // Split one, roll another over, follow both.
    assert_eq!(control.split(&lab.clone().with_shard(&first), None).await.expect("split").len(), 5);
    let second = list.shards[1].id.clone();
    assert_eq!(control.roll_over(&lab.clone().with_shard(&second)).await.expect("rolled over"), 1);
    assert_eq!(control.roll_over(&lab).await.expect("rolled over"), 5, "without a shard all of them");
    let after = control.shards(&Names::table(&arn)).expect("by its ARN too");
    let children = |id: &str| after.shards.iter().filter(|shard| shard.parents == [id]).count();
    assert_eq!((children(&first), children(&second), after.shards.len()), (2, 1, 12));
    let closed = after.shards.iter().filter(|shard| shard.closed.is_some()).count();
    assert_eq!(closed, 7);

    // Every shard's records, before and after a trim on request.
    let mut seen = 0;
    for shard in &after.shards {
        seen += records(&server, &arn, &shard.id).await;
    }
    assert_eq!(seen, 10);
    let full = after.shards.iter().find(|shard| shard.closed.is_some()).expect("a closed one");
    let before = control.trim(&lab.clone().with_shard(&full.id), Before::All).await.expect("trimmed");
    assert_eq!((before, records(&server, &arn, &full.id).await), (1, 0));

    // Iterators end on request, and by store time.
    let token = iterator(&server, &arn, &full.id).await;
    control.expire_iterators().await.expect("expired");
    let (status, expired) = streams(&server, "GetRecords", json!({"ShardIterator": token})).await;
    let kind = expired["__type"].as_str().unwrap_or_default();
    assert!(status == 400 && kind.ends_with("#ExpiredIteratorException"), "{expired}");
    let token = iterator(&server, &arn, &full.id).await;
    assert!(control.freeze().await.expect("frozen").frozen);
    let still = control.clock().store_ms;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(control.clock().store_ms, still);
    control.advance(16 * MINUTE).await.expect("moved");
    let (_, expired) = streams(&server, "GetRecords", json!({"ShardIterator": token})).await;
    assert!(expired["__type"].as_str().unwrap_or_default().ends_with("#ExpiredIteratorException"), "{expired}");
    assert!(!control.release().await.expect("released").frozen);

    // A day later the closed ones are gone; the open ones have rolled over once by themselves.
    control.advance(25 * 60 * MINUTE).await.expect("moved");
    let mut left = usize::MAX;
    // The bound only ends a broken run.
    for _ in 0..2_400 {
        left = control.shards(&lab).expect("listed").shards.len();
        if left == 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(left, 10, "five closed by the roll-over, five open");
    server.stop().await.expect("it stops");
}

/// A hash in the other half of all hashes.
fn flipped(hash: &str) -> String {
    format!("{:032x}", u128::from_str_radix(hash, 16).expect("hex") ^ (1 << 127))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
    let server = started().await;
    let arn = table(&server).await;
    let control = server.control();
    let parent = control.shards(&Names::table("lab")).expect("listed").shards[0].clone();
    control.split(&Names::table("lab").with_shard(&parent.id), None).await.expect("split");
    // The same name in another Region.
    let elsewhere = call(&server, "DynamoDB_20120810.CreateTable", "us-east-1", &definition("twice")).await;
    assert_eq!(elsewhere.0, 200);
    dynamodb(&server, "CreateTable", definition("twice")).await;
    let before = (control.shards(&Names::table("lab")).expect("listed").shards.len(), control.clock().offset_ms);
    let closed = json!({"table": "lab", "shard": parent.id}).to_string();
    let open = control.shards(&Names::table("lab")).expect("listed").shards;
    let open = open.iter().rfind(|shard| shard.closed.is_none()).expect("an open shard");
    let elsewhere_hash = json!({"table": "lab", "shard": open.id, "at": flipped(&open.hash_range[0])}).to_string();
    let first_hash = json!({"table": "lab", "at": parent.hash_range[0]}).to_string();
    let refused = [
        ("GET", "/v1/nothing", "", 404, "there is no GET /v1/nothing"),
        ("PUT", "/v1/clock", "", 404, "there is no PUT"),
        ("GET", "/v1/shards?table=none", "", 404, "no table none"),
        ("GET", "/v1/shards?table=arn:aws:dynamodb:eu-west-1:000000000000:table/x/stream/y", "", 404, "no stream"),
        ("GET", "/v1/shards", "", 400, "name a table"),
        ("GET", "/v1/shards?table=lab&colour=red", "", 400, "no member colour"),
        ("GET", "/v1/shards?table=twice", "", 400, "several tables are named twice"),
        ("POST", "/v1/split", "{", 400, "no JSON object"),
        ("POST", "/v1/split", "[1]", 400, "no JSON object"),
        ("POST", "/v1/split", r#"{"table": 1}"#, 400, "a text is wanted"),
        ("POST", "/v1/split", r#"{"table": "lab", "shard": "shardId-1"}"#, 404, "no shard shardId-1"),
        ("POST", "/v1/split", &closed, 409, "is closed; its children: shardId-"),
        ("POST", "/v1/split", &first_hash, 400, "first hash"),
        ("POST", "/v1/split", r#"{"table": "lab", "at": "-1"}"#, 400, "no hash"),
        ("POST", "/v1/split", r#"{"table": "lab", "at": "fffffffffffffffffffffffffffffffff"}"#, 400, "no hash"),
        ("POST", "/v1/rollover", &closed, 409, "is closed"),
        ("POST", "/v1/merge", r#"{"table": "lab"}"#, 400, "never merge"),
        ("POST", "/v1/trim", r#"{"table": "lab", "before": "yesterday"}"#, 400, "neither a sequence number"),
        ("POST", "/v1/trim", r#"{"table": "lab", "shard": "shardId-1"}"#, 404, "no shard"),
        ("POST", "/v1/clock/advance", r#"{"by": "-1h"}"#, 400, "never goes back"),
        ("POST", "/v1/clock/advance", r#"{"by": "0s"}"#, 400, "at least a millisecond"),
        ("POST", "/v1/clock/advance", r#"{"by": "9000years"}"#, 400, "year 9999"),
        ("POST", "/v1/clock/advance", r#"{"by": "soon"}"#, 400, "as in 25h"),
        ("POST", "/v1/clock/advance", "{}", 400, "how far"),
        ("POST", "/v1/clock/advance", r#"{"by": "1h", "to": "2030-01-31T12:00:00Z"}"#, 400, "how far"),
        ("POST", "/v1/clock/advance", r#"{"to": "2001-01-31T12:00:00Z"}"#, 400, "already, and never goes back"),
        ("POST", "/v1/clock/advance", r#"{"to": "1901-01-31T12:00:00Z"}"#, 400, "no moment"),
        ("POST", "/v1/clock/advance", r#"{"to": "tomorrow"}"#, 400, "no moment"),
        ("POST", "/v1/clock/advance", r#"{"by": "99999999999999999999999h"}"#, 400, "as in 25h"),
        ("POST", "/v1/clock/advance", r#"{"by": 3600}"#, 400, "a text is wanted"),
        ("POST", "/v1/split", &elsewhere_hash, 400, "does not hold that hash"),
        ("POST", "/v1/split", r#"{"table": "lab", "region": "us-east-1"}"#, 404, "no table lab"),
        ("POST", "/v1/split", r#"{"table": "lab", "hash": "1"}"#, 400, "no member hash"),
        ("POST", "/v1/trim", r#"{"table": "lab", "after": "1"}"#, 400, "no member after"),
        ("POST", "/v1/expire-iterators", r#"{"table": "lab"}"#, 400, "no member table"),
        ("GET", "/v1/replications?table=lab", "", 400, "no member table"),
        ("POST", "/v1/replications/disturb", r#"{"duplicates": 101}"#, 400, "at most 100 percent"),
        ("POST", "/v1/replications/disturb", r#"{"reorders": 256}"#, 400, "more than 100 percent"),
        ("POST", "/v1/replications/disturb", r#"{"seed": -1}"#, 400, "a whole number is wanted"),
        ("POST", "/v1/replications/disturb", r#"{"losses": 5}"#, 400, "no member losses"),
        ("POST", "/v1/shards", r#"{"table": "lab"}"#, 404, "there is no POST /v1/shards"),
        ("GET", "/v1/split?table=lab", "", 404, "there is no GET /v1/split"),
        ("DELETE", "/v1/shards?table=lab", "", 404, "there is no DELETE"),
        ("POST", "/v1/clock/freeze", r#"{"by": "1h"}"#, 400, "no member by"),
    ];
    for (method, path, body, status, reason) in &refused {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let (answered, answer) = api(&server, method, path, TOKEN, body).await;
        assert_eq!(answered, *status, "{path} {body}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(reason), "{path} {body}: {answer}");
    }
    let large = format!(r#"{{"table": "{}"}}"#, "a".repeat(70_000));
    assert_eq!(api(&server, Method::POST, "/v1/split", TOKEN, &large).await.0, 400);
    for token in ["", "a-token-of-the-testz", "a-token-of-the-tests-and-more"] {
        let (status, answer) = api(&server, Method::POST, "/v1/clock/freeze", token, "").await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!("Unauthorized")));
    }
    let after = (control.shards(&Names::table(&arn)).expect("listed").shards.len(), control.clock().offset_ms);
    assert_eq!((after, control.clock().frozen), (before, false));
    println!("{} refusals", refused.len() + 4);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_one_hash_is_not_split_and_a_moment_trims_what_came_before() {
    let server = started().await;
    let arn = table(&server).await;
    let control = server.control();
    let lab = Names::table("lab");
    assert_eq!(control.split(&lab, Some(1)).await.expect("split").len(), 5);
    let refused = control.split(&lab, Some(0)).await.expect_err("a single hash");
    assert_eq!((refused.code.as_str(), refused.message.contains("single hash")), ("Invalid", true), "{refused}");
    let shards = control.shards(&lab).expect("listed").shards;
    let single = shards.iter().find(|shard| shard.hash_range[0] == shard.hash_range[1]).expect("one");
    let refused = control.split(&lab.clone().with_shard(&single.id), None).await.expect_err("a single hash");
    assert!(refused.message.contains("single hash"), "{refused}");
    assert_eq!(control.roll_over(&lab.clone().with_shard(&single.id)).await.expect("it can be rolled over"), 1);

    // A moment between two writes; the clock stands, so that nothing else comes between.
    control.freeze().await.expect("frozen");
    let between = control.advance(MINUTE).await.expect("moved").store_time;
    dynamodb(&server, "PutItem", json!({"TableName": "lab", "Item": {"p": {"S": "after"}}})).await;
    let body = json!({"table": arn, "before": between}).to_string();
    let (status, answer) = api(&server, Method::POST, "/v1/trim", TOKEN, &body).await;
    assert!(status == 200 && answer["trimmed_shards"].as_u64().is_some_and(|shards| shards >= 1), "{answer}");
    let mut seen = 0;
    for shard in control.shards(&lab).expect("listed").shards {
        seen += records(&server, &arn, &shard.id).await;
    }
    assert_eq!(seen, 1, "ten came before");
    let at = control.advance_to(headwater_types::Millis(control.clock().store_ms + 7)).await.expect("moved");
    assert_eq!(at.offset_ms, 60_007);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_refused_even_with_the_token() {
    let server = started().await;
    let admin = server.addresses().admin.expect("an admin address");
    let foreign = [
        ("host", "example.org"),
        ("host", "localhost.example.org"),
        ("origin", "http://example.org"),
        ("origin", "null"),
    ];
    for (name, value) in foreign {
        for path in ["/v1/clock/freeze", "/v1/split", "/metrics"] {
            let mut request = Request::post(path).header("authorization", format!("Bearer {TOKEN}"));
            if name != "host" {
                request = request.header("host", "localhost");
            }
            let request = request.header(name, value).body(Full::default()).expect("a request");
            let (status, answer) = send(admin, request).await;
            assert_eq!(status, 403, "{name} {value} {path}: {answer}");
        }
    }
    assert!(!server.control().clock().frozen);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_switch_there_is_no_control_api_and_never_on_the_apis_port() {
    let server = start_in_process(Config::for_test()).await.expect("it starts");
    let (status, _) = api(&server, Method::GET, "/v1/clock", "", "").await;
    assert_eq!(status, 404);
    let (status, _) = api(&server, Method::POST, "/v1/clock/freeze", "", "").await;
    assert_eq!(status, 404);
    let request = Request::post("/v1/clock/freeze").header("host", "localhost").body(Full::default()).expect("one");
    let (status, answer) = send(server.addresses().dynamodb, request).await;
    assert!(status != 200 && !server.control().clock().frozen, "{status} {answer}");
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_what_the_server_answers_and_fails_with_its_reasons() {
    let server = started().await;
    let arn = table(&server).await;
    let text = |arguments: &[&str]| {
        let output = ctl(&server, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(text(&["clock"]).contains("running, moved ahead by 0s"));
    assert!(text(&["clock", "advance", "90m"]).contains("moved ahead by 1h 30m"));
    assert!(text(&["clock", "freeze"]).contains("frozen"));
    assert!(text(&["clock", "release"]).contains("running"));
    assert!(text(&["streams"]).starts_with(&format!("{arn}  ENABLED  ddb.lab.")));
    assert!(text(&["shards", "lab"]).starts_with(&format!("{arn}  ENABLED  4 open, 0 closed\nshardId-")));
    assert_eq!(text(&["split", "lab"]).lines().count(), 5);
    assert_eq!(text(&["rollover", "lab", "--region", "eu-west-1"]), "rolled over: 5\n");
    assert!(text(&["shards", "lab"]).contains("\n│  └─ shardId-"));
    assert_eq!(text(&["heat", "lab", "--json"]).matches("writes_per_second").count(), 5);
    assert_eq!(text(&["trim", &arn]), "shards trimmed: 11\n");
    assert_eq!(text(&["expire-iterators"]), "done\n");
    assert_eq!(text(&["replications"]), "");
    assert_eq!(text(&["disturb", "--duplicates", "5", "--seed", "7"]), "done\n");
    let shards = server.control().shards(&Names::table("lab")).expect("listed").shards;
    let closed = shards.iter().find(|shard| shard.closed.is_some()).expect("a closed one").id.clone();
    let refused = [
        (&["shards", "none"][..], "NotFound: no table none"),
        (&["clock", "advance", "-1h"], "never goes back"),
        (&["clock", "advance", "--to", "2001-01-01T00:00:00Z"], "never goes back"),
        (&["clock", "advance", "0s"], "at least a millisecond"),
        (&["clock", "advance", "9000years"], "year 9999"),
        (&["split", "none"], "NotFound: no table none"),
        (&["split", "lab", "--shard", "shardId-1"], "NotFound: the stream has no shard shardId-1"),
        (&["split", "lab", "--shard", closed.as_str()], "Conflict: shard"),
        (&["split", "lab", "--at", "0"], "first hash"),
        (&["split", "lab", "--at", "xyz"], "no hash"),
        (&["rollover", "lab", "--shard", closed.as_str()], "Conflict: shard"),
        (&["rollover", "lab", "--account", "1"], "NotFound: no table lab"),
        (&["trim", "lab", "--before", "yesterday"], "neither a sequence number"),
        (&["heat", "none"], "NotFound: no table none"),
        (&["merge", "lab"], "never merge"),
        (&["clock", "--token", "wrong"], "Unauthorized"),
        (&["clock", "--admin", "http://127.0.0.1:1"], "no server answers"),
    ];
    println!("{} refusals", refused.len());
    for (arguments, reason) in refused {
        let output = ctl(&server, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(reason), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    server.stop().await.expect("it stops");
}
