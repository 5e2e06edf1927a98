//! TLS: HTTP/2 and HTTP/1.1, with and without ALPN; files that are no certificate; clients that speak something else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_types::BoxFuture;
use headwater_types::runtime::Lost;
use headwater_wire::{ApiSet, Stopped, Tls};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::AUTHORIZATION;
use crate::http2::Tasks;
use crate::world::World;

/// A certificate of its own for `localhost`, in files.
struct Files {
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

impl Files {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder, certificate: certificate.der().clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A world that is listened to in TLS too.
struct Secured {
    world: World,
    files: Files,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: BoxFuture<'static, Result<Stopped, Lost>>,
}

impl Secured {
    async fn start() -> Self {
        let world = World::start_with(ApiSet::ALL, |parts| parts.settings.head_timeout = Duration::from_secs(60)).await;
        Self::over(world).await
    }

    async fn over(world: World) -> Self {
        let files = Files::make();
        let tls = Tls::from_files(&files.path("cert.pem"), &files.path("key.pem")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, asked) = oneshot::channel::<()>();
        let server = world.server.clone();
        let stopped = Box::pin(world.runtime.spawn(async move {
            let shutdown = async {
                let _ = asked.await;
            };
            server.serve_tls(listener, tls, ApiSet::ALL, shutdown).await
        }));
        Self { world, files, address, stop, stopped }
    }

    async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.files.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Sends a request over HTTP/2 or HTTP/1.1, whatever was agreed upon.
    async fn ask(
        &self,
        stream: TlsStream<TcpStream>,
        is_http2: bool,
        request: Request<Full<Bytes>>,
    ) -> (Version, String) {
        let runtime = self.world.runtime.clone();
        if is_http2 {
            let tasks = Tasks(runtime.clone());
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(tasks, TokioIo::new(stream)).await.unwrap();
            drop(runtime.spawn(async move { drop(connection.await) }));
            text(sender.send_request(request).await.unwrap()).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            drop(runtime.spawn(async move { drop(connection.await) }));
            text(sender.send_request(request).await.unwrap()).await
        }
    }
}

async fn text(response: Response<hyper::body::Incoming>) -> (Version, String) {
    assert_eq!(response.status(), 200);
    let version = response.version();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (version, String::from_utf8(body.to_vec()).unwrap())
}

fn put(is_http2: bool) -> Request<Full<Bytes>> {
    let to = if is_http2 { "https://localhost/" } else { "/" };
    Request::post(to)
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .header("x-amz-date", "20250101T000000Z")
        .header("authorization", AUTHORIZATION)
        .body(Full::new(Bytes::from_static(b"{\"TableName\":\"t\",\"Item\":{\"k\":{\"S\":\"v\"}}}")))
        .unwrap()
}

#[tokio::test]
async fn both_versions_with_and_without_alpn() {
    let secured = Secured::start().await;
    let mut asked = 0;
    for (offered, agreed, is_http2) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..]), true),
        (&["h2"], Some(b"h2"), true),
        (&["http/1.1"], Some(b"http/1.1"), false),
        // Whoever offers nothing is told by its first bytes.
        (&[], None, true),
        (&[], None, false),
    ] {
        let stream = secured.connect(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        let (version, body) = secured.ask(stream, is_http2, put(is_http2)).await;
        assert_eq!(version, if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 });
        assert_eq!(body, "{\"Attributes\":{\"k\":{\"S\":\"v\"}}}");
        asked += 1;
    }
    let seen = secured.world.service.seen.lock().clone();
    assert!(seen.len() == asked && seen.iter().all(|seen| seen.is_secure));
    println!("ways through TLS: {asked}");
}

#[tokio::test]
async fn what_is_no_tls_is_counted_and_hurts_nobody() {
    let secured = Secured::start().await;
    let mut plain = TcpStream::connect(secured.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or a cut where the rest was not read.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    secured.world.until("the failure is counted", |world| world.metrics.tls_failures.get() == 1).await;
    drop(TcpStream::connect(secured.address).await.unwrap());
    secured.world.until("so is who goes away", |world| world.metrics.tls_failures.get() == 2).await;
    let stream = secured.connect(&["h2"]).await;
    secured.ask(stream, true, put(true)).await;
}

#[tokio::test]
async fn a_handshake_has_its_time_and_a_stop_does_not_wait_for_it() {
    let world = World::start_with(ApiSet::ALL, |parts| parts.settings.head_timeout = Duration::from_millis(40)).await;
    let secured = Secured::over(world).await;
    let mut silent = TcpStream::connect(secured.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "the silent one is left");
    secured.world.until("and counted", |world| world.metrics.tls_failures.get() == 1).await;

    let secured = Secured::start().await;
    let silent = TcpStream::connect(secured.address).await.unwrap();
    secured.world.until("it is accepted", |world| world.metrics.connections_open.get() == 1).await;
    secured.stop.send(()).unwrap();
    assert_eq!(secured.stopped.await.unwrap(), Stopped::Gracefully);
    drop(silent);
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let (files, others) = (Files::make(), Files::make());
    std::fs::write(files.path("empty.pem"), "").unwrap();
    std::fs::write(files.path("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    std::fs::write(files.path("nonsense.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let refused = |cert: &Path, key: &Path| match Tls::from_files(cert, key) {
        Ok(_) => panic!("taken: {} {}", cert.display(), key.display()),
        Err(error) => error.to_string(),
    };
    let cases = [
        (files.path("absent.pem"), key.clone(), "absent.pem: "),
        (files.path("empty.pem"), key.clone(), "empty.pem: there is no certificate in it"),
        (files.path("cut.pem"), key.clone(), "cut.pem: "),
        (key.clone(), key.clone(), "key.pem: there is no certificate in it"),
        (cert.clone(), cert.clone(), "cert.pem: there is no private key in it"),
        (cert.clone(), files.path("absent.pem"), "absent.pem: "),
        (cert.clone(), others.path("key.pem"), "key.pem: the key is not the certificate's"),
        (files.path("nonsense.pem"), key.clone(), "nonsense.pem with key "),
    ];
    for (cert, key, expected) in &cases {
        let told = refused(cert, key);
        assert!(told.contains(expected), "{told} instead of {expected}");
    }
    println!("certificates refused by name: {}", cases.len());
    assert!(Tls::from_files(&cert, &key).is_ok());
}
