//! TLS as it is switched on: certificates that the command makes, a real client on every address, both versions of HTTP in
//! each way to them, pushed answers included; files that cannot be served with are refused by name.

#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

mod lab;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use headwater_server::{Config, RunningServer, TlsFiles, start_in_process};
use hyper::Version;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use lab::sender::{SHARD, Sender, read_until};

/// A folder of what `headwater certs` makes.
struct Certs(tempfile::TempDir);

impl Certs {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = certs(folder.path(), &["--name", "headwater.test"]);
        assert!(made.0, "{}", made.1);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("server.pem"), key: self.path("server-key.pem") }
    }

    /// A client's settings that trusts `ca.pem` and nothing else.
    fn trusting(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("a certificate")).expect("one to trust");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = versions.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Whether the command did it, and what it said.
fn certs(folder: &Path, more: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_headwater")).arg("certs").arg(folder).args(more).output();
    let output = output.expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// How a client comes in.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Offered by ALPN; none: no TLS.
    tls: Option<&'static [&'static str]>,
    version: Version,
}

const WAYS: [Way; 7] = [
    Way { tls: None, version: Version::HTTP_11 },
    // By prior knowledge.
    Way { tls: None, version: Version::HTTP_2 },
    Way { tls: Some(&["h2", "http/1.1"]), version: Version::HTTP_2 },
    Way { tls: Some(&["h2"]), version: Version::HTTP_2 },
    Way { tls: Some(&["http/1.1"]), version: Version::HTTP_11 },
    // Without ALPN: told by the first bytes.
    Way { tls: Some(&[]), version: Version::HTTP_2 },
    Way { tls: Some(&[]), version: Version::HTTP_11 },
];

/// Comes in.
async fn open(certs: &Certs, to: SocketAddr, way: Way) -> Sender {
    let Some(alpn) = way.tls else { return Sender::plain(to, way.version).await };
    let stream = TcpStream::connect(to).await.expect("it listens");
    let name = ServerName::from(to.ip());
    let stream = TlsConnector::from(certs.trusting(alpn)).connect(name, stream).await.expect("hands are shaken");
    assert_eq!(stream.get_ref().1.alpn_protocol().is_some(), !alpn.is_empty(), "{way:?}");
    Sender::over(stream, way.version).await
}

/// A stream, a consumer, a record that is polled and pushed to it, all over one connection.
async fn visit(sender: &mut Sender, way: Way, name: &str) {
    let arn = sender.stream(name, 1).await;
    let consumer = sender.consumer(&arn, "app").await;
    // "cHVzaGVk" is "pushed".
    sender.done("PutRecord", json!({"StreamName": name, "PartitionKey": "k", "Data": "cHVzaGVk"})).await;
    let from = json!({"StreamName": name, "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = sender.done("GetShardIterator", from).await["ShardIterator"].clone();
    let page = sender.done("GetRecords", json!({"ShardIterator": iterator})).await;
    assert_eq!(page["Records"][0]["Data"], "cHVzaGVk", "{way:?}");
    let mut pushed = sender.subscribe(&consumer, SHARD).await;
    assert_eq!((pushed.status().as_u16(), pushed.version()), (200, way.version), "{way:?}");
    read_until(&mut pushed, b"cHVzaGVk").await;
}

async fn started(certs: Option<&Certs>) -> RunningServer {
    start_in_process(Config { tls: certs.map(Certs::files), ..Config::for_test() }).await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_put_polled_and_pushed_in_every_way() {
    let certs = Certs::make();
    let (plain, secured) = (started(None).await, started(Some(&certs)).await);
    let mut visits = 0;
    for (number, way) in WAYS.into_iter().enumerate() {
        let server = if way.tls.is_some() { &secured } else { &plain };
        let mut sender = open(&certs, server.addresses().kinesis, way).await;
        visit(&mut sender, way, &format!("way-{number}")).await;
        visits += 1;
    }
    println!("ways to a data stream: {visits}");
    assert_eq!(visits, WAYS.len());
    plain.stop().await.expect("it stops");
    secured.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_an_api_is_in_tls_and_the_admin_address_is_not() {
    let certs = Certs::make();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let own = Some(free);
    let config = Config {
        listen_streams: own,
        listen_kinesis: own,
        listen_firehose: own,
        tls: Some(certs.files()),
        ..Config::for_test()
    };
    let server = start_in_process(config).await.expect("it starts");
    let of = server.addresses();
    assert!(of.tls && of.url(of.kinesis).starts_with("https://"), "{of:?}");
    let fork = server.fork(None).await.expect("a fork");
    let mut secured = 0;
    let way = Way { tls: Some(&["h2"]), version: Version::HTTP_2 };
    for address in [of.dynamodb, of.streams, of.kinesis, of.firehose, fork.dynamodb, fork.kinesis] {
        let mut sender = open(&certs, address, way).await;
        // Each answers in its own words; it answers.
        let answer = sender.send(lab::signed("DynamoDB_20120810.ListTables", "eu-west-1", &json!({}))).await;
        assert!(matches!(answer.status().as_u16(), 200 | 400), "{}", answer.status());
        let plainly = tokio::time::timeout(
            Duration::from_secs(60),
            lab::exchange(address, lab::signed("DynamoDB_20120810.ListTables", "eu-west-1", &json!({}))),
        );
        assert_eq!(plainly.await.expect("it is turned away"), None, "{address} answers without TLS");
        secured += 1;
    }
    // The admin page is read in the clear. The fork counts its own two.
    lab::metric_becomes(&server, "headwater_tls_failures_total", 4).await;
    println!("addresses in TLS: {secured}");
    assert_eq!(secured, 6);
    server.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_good_for_this_machine_and_what_was_named() {
    let (certs, others) = (Certs::make(), Certs::make());
    let server = started(Some(&certs)).await;
    let shake = async |trusting: &Certs, name: &'static str| {
        let stream = TcpStream::connect(server.addresses().kinesis).await.expect("it listens");
        let name = ServerName::try_from(name).expect("a name");
        TlsConnector::from(trusting.trusting(&[])).connect(name, stream).await.map(drop)
    };
    for name in ["localhost", "127.0.0.1", "::1", "headwater.test"] {
        shake(&certs, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["example.com", "127.0.0.2"] {
        shake(&certs, name).await.expect_err(name);
    }
    // Each authority vouches for one certificate.
    shake(&others, "localhost").await.expect_err("another's certificate");
    server.stop().await.expect("it stops");
}

#[test]
fn nothing_is_overwritten_and_the_key_is_its_owners() {
    let made = Certs::make();
    let kept = std::fs::read(made.path("server-key.pem")).expect("a key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(made.path("server-key.pem")).expect("a key").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    let mut refused = 0;
    for file in ["ca.pem", "server.pem", "server-key.pem"] {
        let (done, complaint) = certs(made.0.path(), &[]);
        assert!(!done && complaint.contains(file), "{file}: {complaint}");
        std::fs::remove_file(made.path(file)).expect("it was there");
        refused += 1;
    }
    assert!(certs(made.0.path(), &[]).0, "the folder is empty again");
    assert_ne!(std::fs::read(made.path("server-key.pem")).expect("a key"), kept);
    let (done, complaint) = certs(&made.path("ca.pem"), &[]);
    assert!(!done && complaint.contains("ca.pem"), "a file is no folder: {complaint}");
    println!("refused: {refused}");
}

#[test]
fn a_start_with_files_that_do_not_serve_is_refused_by_name() {
    let (ours, others) = (Certs::make(), Certs::make());
    std::fs::write(ours.path("empty.pem"), "").expect("written");
    std::fs::write(ours.path("text.pem"), "this is no certificate").expect("written");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(ours.path("nonsense.pem"), nonsense).expect("written");
    std::fs::create_dir(ours.path("folder.pem")).expect("made");
    let (certificate, key) = (ours.path("server.pem"), ours.path("server-key.pem"));
    let cases = [
        // Missing, unreadable.
        (ours.path("absent.pem"), key.clone(), "absent.pem"),
        (certificate.clone(), ours.path("absent.pem"), "absent.pem"),
        (ours.path("folder.pem"), key.clone(), "folder.pem"),
        (certificate.clone(), ours.path("folder.pem"), "folder.pem"),
        // Something else.
        (ours.path("empty.pem"), key.clone(), "empty.pem"),
        (ours.path("text.pem"), key.clone(), "text.pem"),
        (ours.path("nonsense.pem"), key.clone(), "nonsense.pem"),
        (key.clone(), key.clone(), "server-key.pem: there is no certificate"),
        (certificate.clone(), certificate.clone(), "server.pem: there is no private key"),
        (certificate.clone(), ours.path("text.pem"), "text.pem"),
        // Another's.
        (certificate, others.path("server-key.pem"), "the key is not the certificate's"),
        (ours.path("ca.pem"), key, "the key is not the certificate's"),
    ];
    let data = ours.path("data");
    for (certificate, key, reason) in &cases {
        let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["--listen", "127.0.0.1:0", "--admin", "off", "--data-dir"])
            .arg(&data)
            .arg("--tls-certificate")
            .arg(certificate)
            .arg("--tls-key")
            .arg(key)
            .output()
            .expect("the binary runs");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(reason) && complaint.contains(".pem"), "{complaint} instead of {reason}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(!data.exists(), "a store is made before the files are looked at");
    }
    println!("starts refused: {}", cases.len());
}
