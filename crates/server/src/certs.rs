//! `headwater certs`: a certificate for this machine, for those who have none to give.
//!
//! ```text
//! ca.pem          vouches for the next one; clients are told to trust it
//! server.pem      for localhost, 127.0.0.1, ::1 and what else was named   --tls-certificate
//! server-key.pem  its private key, for its owner only                     --tls-key
//! ```
//! The key of `ca.pem` is kept nowhere: who trusts it trusts this one certificate and no other that is ever made.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server-key.pem";

/// What every certificate is good for.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Life of a certificate. Unit: days. Source: the most that Apple's clients accept of a server's certificate.
const LIFE_DAYS: u64 = 825;

const DAY_S: u64 = 86_400;

/// Makes a certificate for localhost, 127.0.0.1 and ::1, and one that vouches for it, in a folder.
#[derive(Args, Debug)]
pub struct Certs {
    /// The folder, made if it is not there; files in it are never overwritten
    directory: PathBuf,
    /// A further host name or address that the certificate is good for (repeatable)
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
}

/// A certificate in PEM, its key, and who vouches for it.
struct Made {
    authority: String,
    certificate: String,
    key: String,
}

impl Certs {
    /// Makes the files and says what to do with them.
    ///
    /// Errors: one of the files is there already, the folder cannot be written, a name is none.
    pub fn run(&self) -> Result<String> {
        let [authority, certificate, key] = [AUTHORITY, CERTIFICATE, KEY].map(|name| self.directory.join(name));
        for file in [&authority, &certificate, &key] {
            ensure!(!file.exists(), "{} is there already: it is not overwritten", file.display());
        }
        let made = self.make(today()).context("making the certificate")?;
        fs::create_dir_all(&self.directory).with_context(|| self.directory.display().to_string())?;
        write(&key, &made.key, true)?;
        write(&certificate, &made.certificate, false)?;
        write(&authority, &made.authority, false)?;
        let [authority, certificate, key] = [authority, certificate, key].map(|file| file.display().to_string());
        Ok(format!(
            "made {certificate} for {}, good for {LIFE_DAYS} days\n\
             serve it:  headwater --tls-certificate {certificate} --tls-key {key}\n\
             trust it:  AWS_CA_BUNDLE={authority} (Python, the CLI; Go with SSL_CERT_FILE, Node with NODE_EXTRA_CA_CERTS)\n",
            self.all_names().join(", ")
        ))
    }

    fn all_names(&self) -> Vec<String> {
        THIS_MACHINE.into_iter().map(str::to_owned).chain(self.names.iter().cloned()).collect()
    }

    /// `day`: days since 1970, where the certificates' life begins.
    fn make(&self, day: u64) -> Result<Made, rcgen::Error> {
        let mut vouching = lasting(CertificateParams::default(), "Headwater, for one certificate only", day);
        vouching.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        vouching.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = vouching.self_signed(&key)?.pem();
        let issuer = Issuer::new(vouching, key);

        let mut params = lasting(CertificateParams::new(self.all_names())?, "Headwater", day);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict clients (Python 3.13) want to be told who signed.
        params.use_authority_key_identifier_extension = true;
        let own = KeyPair::generate()?;
        let certificate = params.signed_by(&own, &issuer)?.pem();
        Ok(Made { authority, certificate, key: own.serialize_pem() })
    }
}

/// The certificate to trust, where `headwater certs` has left it beside the one that is served.
pub fn authority_beside(certificate: &Path) -> Option<PathBuf> {
    let file = certificate.with_file_name(AUTHORITY);
    (certificate.file_name()? == CERTIFICATE && file.is_file()).then_some(file)
}

/// Good from the day before `day` on: a client's clock may be behind.
fn lasting(mut params: CertificateParams, name: &str, day: u64) -> CertificateParams {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    params.distinguished_name = named;
    let midnight = |day: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(day * DAY_S);
    (params.not_before, params.not_after) = (midnight(day.saturating_sub(1)), midnight(day + LIFE_DAYS - 1));
    params
}

#[allow(clippy::disallowed_methods, reason = "a certificate is dated by the machine's clock, whatever a store's says")]
fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / DAY_S)
}

fn write(file: &Path, text: &str, is_secret: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if is_secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut open = options.open(file).with_context(|| file.display().to_string())?;
    open.write_all(text.as_bytes()).with_context(|| file.display().to_string())
}
