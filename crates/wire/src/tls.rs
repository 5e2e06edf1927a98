//! TLS: certificate and key from files, and the handshake.
//!
//! The client chooses HTTP/2 or HTTP/1.1 by ALPN; one that sends no ALPN is told by its first bytes, as without TLS.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Protocols offered by ALPN, best first. Source: RFC 7301 and RFC 9113.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A server's certificate, ready for handshakes; clones share it.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why there is no TLS with these files.
#[derive(Debug)]
pub enum InvalidTls {
    /// A file cannot be read, or is no PEM.
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// There is nothing of the kind in a file.
    Missing {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate is not of this key, or one of them cannot be used.
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, why } => write!(f, "{}: {why}", file.display()),
            Self::Missing { file, what } => write!(f, "{}: there is no {what} in it", file.display()),
            Self::Unusable { cert, key, why } => {
                write!(f, "certificate {} with key {}: {why}", cert.display(), key.display())
            }
        }
    }
}

impl std::error::Error for InvalidTls {}

impl Tls {
    /// Reads a certificate with those that vouch for it, its own first, and its private key, both in PEM.
    ///
    /// Errors: [`InvalidTls`] names the file.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, InvalidTls> {
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
            .map_err(|error| unreadable(cert, "certificate", &error))?;
        if chain.is_empty() {
            return Err(InvalidTls::Missing { file: cert.to_owned(), what: "certificate" });
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| InvalidTls::Unusable {
                cert: cert.to_owned(),
                key: key.to_owned(),
                why: match error {
                    rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
                    other => other.to_string(),
                },
            })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands.
    pub(crate) async fn accept<IO>(&self, transport: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.accept(transport).await
    }
}

fn unreadable(file: &Path, what: &'static str, error: &pem::Error) -> InvalidTls {
    let file = file.to_owned();
    match error {
        pem::Error::NoItemsFound => InvalidTls::Missing { file, what },
        pem::Error::Io(error) => InvalidTls::Unreadable { file, why: error.to_string() },
        other => InvalidTls::Unreadable { file, why: other.to_string() },
    }
}
