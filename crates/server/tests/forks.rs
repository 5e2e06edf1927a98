//! Snapshots, restores and forks of a running server, in the process and through `headwater ctl`.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use headwater_server::{Config, ControlAccess, RunningServer, Store, start_in_process};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

const TOKEN: &str = "a-token-of-the-tests";

async fn start(store: Store) -> RunningServer {
    let control = ControlAccess::Token(TOKEN.to_owned());
    start_in_process(Config { store, control, ..Config::for_test() }).await.expect("it starts")
}

fn on_disk(folder: &Path) -> Store {
    Store::Directory(folder.join("data"))
}

async fn send(to: SocketAddr, request: Request<Full<bytes::Bytes>>) -> (u16, Value) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    let exchange = async {
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.expect("a body").to_bytes())
    };
    let (status, body) = tokio::select! {
        biased;
        exchanged = exchange => exchanged,
        _ = connection => panic!("the connection ended"),
    };
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
}

/// A signed call, as a client makes it.
async fn call(to: SocketAddr, target: &str, body: &Value) -> (u16, Value) {
    let signature = "a".repeat(64);
    let credential = "k/20260101/eu-west-1/dynamodb/aws4_request";
    let request = Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header("x-amz-date", "20260101T000000Z")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature={signature}"),
        )
        .body(Full::new(body.to_string().into()))
        .expect("a request");
    send(to, request).await
}

async fn dynamodb(to: SocketAddr, operation: &str, body: Value) -> Value {
    let (status, answer) = call(to, &format!("DynamoDB_20120810.{operation}"), &body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

async fn streams(to: SocketAddr, operation: &str, body: Value) -> Value {
    let (status, answer) = call(to, &format!("DynamoDBStreams_20120810.{operation}"), &body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

async fn put(to: SocketAddr, key: &str) {
    dynamodb(to, "PutItem", json!({"TableName": "lab", "Item": {"p": {"S": key}}})).await;
}

/// A table with a stream and some items; the stream's ARN.
async fn table(to: SocketAddr, items: usize) -> String {
    let definition = json!({
        "TableName": "lab", "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "p", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"},
    });
    let made = dynamodb(to, "CreateTable", definition).await;
    while dynamodb(to, "DescribeTable", json!({"TableName": "lab"})).await["Table"]["TableStatus"] != "ACTIVE" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for item in 0..items {
        put(to, &format!("first {item}")).await;
    }
    made["TableDescription"]["LatestStreamArn"].as_str().expect("a stream").to_owned()
}

fn keys(of: &Value) -> BTreeSet<String> {
    let text = |item: &Value| item["p"]["S"].as_str().expect("a key").to_owned();
    of.as_array().expect("a list").iter().map(text).collect()
}

/// The items' keys.
async fn items(to: SocketAddr) -> BTreeSet<String> {
    keys(&dynamodb(to, "Scan", json!({"TableName": "lab", "ConsistentRead": true})).await["Items"])
}

async fn shards(to: SocketAddr, arn: &str) -> Vec<String> {
    let described = streams(to, "DescribeStream", json!({"StreamArn": arn})).await;
    let list = described["StreamDescription"]["Shards"].as_array().expect("shards").clone();
    list.iter().map(|shard| shard["ShardId"].as_str().expect("an id").to_owned()).collect()
}

async fn iterator(to: SocketAddr, arn: &str, shard: &str) -> Value {
    let ask = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    streams(to, "GetShardIterator", ask).await["ShardIterator"].clone()
}

/// The keys of all records of the stream.
async fn records(to: SocketAddr, arn: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for shard in shards(to, arn).await {
        let mut next = iterator(to, arn, &shard).await;
        loop {
            let page = streams(to, "GetRecords", json!({"ShardIterator": next})).await;
            let list = page["Records"].as_array().expect("records");
            if list.is_empty() {
                break;
            }
            found
                .extend(list.iter().map(|each| each["dynamodb"]["Keys"]["p"]["S"].as_str().expect("a key").to_owned()));
            next = page["NextShardIterator"].clone();
        }
    }
    found
}

async fn diverges(store: Store) {
    let server = start(store).await;
    let parent = server.addresses().dynamodb;
    let arn = table(parent, 20).await;
    let shard = &shards(parent, &arn).await[0];
    let old = iterator(parent, &arn, shard).await;
    let moved = server.control().advance(Duration::from_secs(60)).await.expect("moved").offset_ms;
    let begun = Instant::now();
    let fork = server.fork(None).await.expect("a fork").dynamodb;
    println!("a fork of 20 items: {:?}", begun.elapsed());
    assert_eq!((items(fork).await, records(fork, &arn).await), (items(parent).await, records(parent, &arn).await));

    // Each goes its own way, in items and in the stream.
    put(parent, "of the parent").await;
    put(fork, "of the fork").await;
    dynamodb(fork, "DeleteItem", json!({"TableName": "lab", "Key": {"p": {"S": "first 3"}}})).await;
    let (of_parent, of_fork) = (items(parent).await, items(fork).await);
    assert!(of_parent.contains("of the parent") && of_parent.contains("first 3") && of_parent.len() == 21);
    assert!(of_fork.contains("of the fork") && !of_fork.contains("first 3") && of_fork.len() == 20);
    let (told, told_fork) = (records(parent, &arn).await, records(fork, &arn).await);
    assert!(told.contains("of the parent") && !told.contains("of the fork") && told.len() == 21, "{told:?}");
    assert!(told_fork.contains("of the fork") && !told_fork.contains("of the parent") && told_fork.len() == 21);

    // The parent's iterators are expired in the fork, and the fork's in the parent; at home they hold.
    let young = iterator(fork, &arn, shard).await;
    for (token, home, abroad) in [(old, parent, fork), (young, fork, parent)] {
        let ask = json!({"ShardIterator": token});
        assert!(streams(home, "GetRecords", ask.clone()).await["Records"].is_array());
        let (status, refused) = call(abroad, "DynamoDBStreams_20120810.GetRecords", &ask).await;
        assert_eq!(status, 400);
        assert_eq!(refused["__type"], "com.amazonaws.dynamodb.v20120810#ExpiredIteratorException", "{refused}");
        let text = refused["message"].as_str().expect("a text");
        assert!(text.starts_with("The shard iterator has expired. Shard iterators are valid for 15 minutes"), "{text}");
    }

    // A fork of the fork, made through the fork's own control API, which takes the same token.
    let admin = server.forks().list().await[0].addresses.admin.expect("an admin address");
    let clock: Value = serde_json::from_str(&ctl(admin, &["--json", "clock"]).await).expect("JSON");
    assert!(moved >= 60_000 && clock["offset_ms"] == moved, "the clock goes on as it was moved: {clock}");
    let made = ctl(admin, &["--json", "fork"]).await;
    let grandchild: Value = serde_json::from_str(&made).expect("JSON");
    let grandchild: SocketAddr = grandchild["dynamodb"].as_str().expect("an address").parse().expect("an address");
    assert_eq!(items(grandchild).await, of_fork);
    put(grandchild, "of the grandchild").await;
    assert_eq!((items(parent).await, items(fork).await), (of_parent, of_fork));
    server.stop().await.expect("it stops");
    for gone in [parent, fork, grandchild] {
        assert!(tokio::net::TcpStream::connect(gone).await.is_err(), "{gone} still listens");
    }
}

async fn ctl(admin: SocketAddr, arguments: &[&str]) -> String {
    let done = run_ctl(admin, arguments).await;
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

async fn run_ctl(admin: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(["ctl", "--admin", &format!("http://{admin}"), "--token", TOKEN]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_in_memory_goes_its_own_way() {
    diverges(Store::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_on_disk_goes_its_own_way_and_its_folder_goes_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    diverges(on_disk(folder.path())).await;
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("listed").map(|each| each.expect("read").file_name()).collect();
    assert_eq!(left, ["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_under_writes_hold_a_prefix_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(on_disk(folder.path())).await;
    let parent = server.addresses().dynamodb;
    let arn = table(parent, 0).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writer = tokio::spawn(async move {
        let mut written = 0;
        while !*stopped.borrow() {
            put(parent, &format!("{written:06}")).await;
            written += 1;
        }
        written
    });
    let (mut held, mut times) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        // The writer has got on since the fork before, however slow the machine is.
        let wanted = held.last().copied().unwrap_or_default() + 5;
        let mut before = items(parent).await.len();
        while before < wanted {
            assert!(!writer.is_finished(), "the writer goes on until it is told to stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
            before = items(parent).await.len();
        }
        let begun = Instant::now();
        let fork = server.fork(None).await.expect("a fork").dynamodb;
        times.push(begun.elapsed());
        let found = items(fork).await;
        let prefix: BTreeSet<String> = (0..found.len()).map(|number| format!("{number:06}")).collect();
        assert!(found == prefix && found.len() >= before, "{} of at least {before}", found.len());
        assert_eq!(records(fork, &arn).await, found, "the stream says what the table holds");
        held.push(found.len());
        server.end_fork(fork).await.expect("it ends");
    }
    stop.send_replace(true);
    let written = writer.await.expect("the writer ends");
    times.sort_unstable();
    println!(
        "{written} writes; forks held {held:?}; a fork took {:?} at the median, {:?} at most",
        times[6], times[11]
    );
    assert!(held[11] > held[0] && written > 50);
    server.stop().await.expect("it stops");
}

/// Open files below a folder; other tests of this process have theirs.
fn open_files(below: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("listed").flatten();
    open.filter_map(|each| std::fs::read_link(each.path()).ok()).filter(|file| file.starts_with(below)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_forks_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    for store in [Store::Memory, on_disk(folder.path())] {
        let kind = if store == Store::Memory { "in memory" } else { "on disk" };
        let server = start(store).await;
        let parent = server.addresses().dynamodb;
        table(parent, 100).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (mut times, mut before) = (Vec::new(), (0, 0));
        for number in 0..50 {
            let begun = Instant::now();
            let fork = server.fork(None).await.expect("a fork").dynamodb;
            times.push(begun.elapsed());
            put(fork, &format!("of fork {number}")).await;
            assert_eq!(items(fork).await.len(), 101);
            server.end_fork(fork).await.expect("it ends");
            if number == 4 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                before = (tasks(), open_files(folder.path()));
            }
        }
        assert_eq!(items(parent).await.len(), 100);
        assert!(server.forks().list().await.is_empty());
        let mut after = (usize::MAX, usize::MAX);
        // As long as on the slowest of machines; the bound only ends a broken run.
        for _ in 0..2_400 {
            after = (tasks(), open_files(folder.path()));
            if after.0 <= before.0 && after.1 <= before.1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{kind}: tasks and open files after 5 forks {before:?}, after 50 {after:?}");
        println!("{kind}, each: {:?}", times.iter().map(|time| time.as_micros()).collect::<Vec<_>>());
        times.sort_unstable();
        println!("{kind}: a fork took {:?} at the median, {:?} at most", times[25], times[49]);
        assert!(after.0 <= before.0 && after.1 <= before.1, "{before:?} {after:?}");
        server.stop().await.expect("it stops");
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("listed").map(|each| each.expect("read").file_name()).collect();
    assert_eq!(left, ["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_restored_at_a_start_and_beside_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    for (store, name) in [(on_disk(folder.path()), "of disk"), (Store::Memory, "of memory")] {
        let server = start(store).await;
        let parent = server.addresses().dynamodb;
        let arn = table(parent, 30).await;
        let old = iterator(parent, &arn, &shards(parent, &arn).await[0]).await;
        let snapshot = folder.path().join(name);
        let report = server.snapshot(&snapshot).await.expect("a snapshot");
        println!("{name}: {report:?}");
        assert!(report.position > 30 && report.files_linked + report.files_copied > 3);
        let (was, told) = (items(parent).await, records(parent, &arn).await);
        put(parent, "later").await;
        for number in 0..2 {
            let data = folder.path().join(format!("restored {name} {number}"));
            let config = Config {
                store: Store::Directory(data.clone()),
                restore_from: Some(snapshot.clone()),
                ..Config::for_test()
            };
            let restored = start_in_process(config.clone()).await.expect("it starts");
            let to = restored.addresses().dynamodb;
            assert_eq!((items(to).await, records(to, &arn).await), (was.clone(), told.clone()));
            put(to, &format!("of restored {number}")).await;
            let ask = json!({"ShardIterator": old});
            let (_, refused) = call(to, "DynamoDBStreams_20120810.GetRecords", &ask).await;
            assert!(refused["__type"].as_str().is_some_and(|kind| kind.ends_with("#ExpiredIteratorException")));
            let young = iterator(to, &arn, &shards(to, &arn).await[0]).await;
            restored.stop().await.expect("it stops");
            // The folder is a store now: it goes on without the snapshot, and iterators outlive that restart.
            let error = start_in_process(config.clone()).await.err().expect("it is used").to_string();
            assert!(error.contains("--restore-from"), "{error}");
            let again = start_in_process(Config { restore_from: None, ..config }).await.expect("it starts");
            let to = again.addresses().dynamodb;
            assert_eq!(items(to).await.len(), 31);
            assert!(streams(to, "GetRecords", json!({"ShardIterator": young})).await["Records"].is_array());
            again.stop().await.expect("it stops");
        }
        // Into memory, at a start.
        let config = Config { restore_from: Some(snapshot.clone()), ..Config::for_test() };
        let begun = Instant::now();
        let in_memory = start_in_process(config).await.expect("it starts");
        println!("{name}, into memory: {:?}", begun.elapsed());
        let to = in_memory.addresses().dynamodb;
        assert_eq!((items(to).await, records(to, &arn).await), (was.clone(), told.clone()));
        put(to, "in memory").await;
        in_memory.stop().await.expect("it stops");
        // Beside the running one.
        let beside = server.control().restore(snapshot.clone(), None).await.expect("restored").dynamodb;
        assert_eq!(items(beside).await, was);
        let data = server.control().forks().await[0].data_dir.clone();
        assert!(data.is_some() == (name == "of disk") && data.iter().all(|data| data.exists()));
        server.end_fork(beside).await.expect("it ends");
        assert!(data.iter().all(|data| !data.exists()) && items(parent).await.len() == 31);
        server.stop().await.expect("it stops");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_and_ends_them_and_says_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(on_disk(folder.path())).await;
    let (parent, admin) = (server.addresses().dynamodb, server.addresses().admin.expect("an admin address"));
    table(parent, 5).await;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let said = ctl(admin, &["snapshot", &path("shot")]).await;
    assert!(said.contains("files linked") && said.contains(" ms"), "{said}");
    let said = ctl(admin, &["restore", &path("shot"), "--directory", &path("kept")]).await;
    assert!(said.contains("dynamodb  http://127.0.0.1:"), "{said}");
    let said = ctl(admin, &["fork"]).await;
    let fork =
        said.lines().next().and_then(|line| line.strip_prefix("dynamodb  http://")).expect("an address").to_owned();
    assert_eq!(items(fork.parse().expect("an address")).await.len(), 5);
    assert_eq!(ctl(admin, &["forks"]).await.lines().count(), 2);
    let before: BTreeSet<_> =
        std::fs::read_dir(folder.path()).expect("listed").map(|each| each.expect("read").path()).collect();
    for (arguments, says) in [
        (vec!["snapshot", &path("shot")], "Invalid: "),
        (vec!["snapshot", &path("data/log")], "own folder"),
        (vec!["fork", "--directory", &path("kept")], "the folder is not empty"),
        (vec!["fork", "--directory", &path("data")], "own folder"),
        (vec!["restore", &path("nothing")], "holds no store"),
        (vec!["restore", &path("data")], "has this store open"),
        (vec!["end-fork", "127.0.0.1:1"], "NotFound: no fork of this server listens on 127.0.0.1:1"),
        (vec!["end-fork", "somewhere"], "the address at which the fork serves DynamoDB"),
    ] {
        let done = run_ctl(admin, &arguments).await;
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && text.contains(says), "{arguments:?}: {text}");
        let after: BTreeSet<_> =
            std::fs::read_dir(folder.path()).expect("listed").map(|each| each.expect("read").path()).collect();
        assert_eq!(after, before, "{arguments:?} changed something");
    }
    ctl(admin, &["end-fork", &fork]).await;
    ctl(admin, &["end-fork", &format!("http://{}", server.forks().list().await[0].addresses.dynamodb)]).await;
    assert!(Path::new(&path("kept")).join("STORE").exists(), "a given folder stays");
    assert_eq!((items(parent).await.len(), ctl(admin, &["forks"]).await.as_str()), (5, ""));
    server.stop().await.expect("it stops");
}
