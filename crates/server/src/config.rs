//! Settings of the server: flags, then the environment (`HEADWATER_*`), then a TOML file, then defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use headwater_types::limits;
use serde::Deserialize;

/// Where the API listens when nothing else is said. Source: DynamoDB Local's default port.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8000";

/// The account of requests whose access key is not mapped to another.
pub const DEFAULT_ACCOUNT: &str = "000000000000";

/// A shorter token of the control API could be guessed.
const TOKEN_MIN: usize = 8;

/// Longest life of a shard: a year, beyond which nothing is kept. Unit: seconds.
const SHARD_LIFE_MAX: u64 = 365 * 86_400;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After it is on disk.
    #[default]
    Strict,
    /// After it is written; it is on disk within a bounded interval.
    Relaxed,
}

/// The settings as given on one level: flags with environment, or the TOML file (same names, dashes as underscores).
#[derive(Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address of all APIs on one port; port 0 takes a free one and prints it [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR", env = "HEADWATER_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// An address of its own for DynamoDB Streams
    #[arg(long, value_name = "ADDR", env = "HEADWATER_LISTEN_STREAMS")]
    pub listen_streams: Option<SocketAddr>,
    /// An address of its own for Kinesis
    #[arg(long, value_name = "ADDR", env = "HEADWATER_LISTEN_KINESIS")]
    pub listen_kinesis: Option<SocketAddr>,
    /// An address of its own for Firehose
    #[arg(long, value_name = "ADDR", env = "HEADWATER_LISTEN_FIREHOSE")]
    pub listen_firehose: Option<SocketAddr>,
    /// Where health, readiness and metrics are served, or `off` [default: the port after the API's, loopback]
    #[arg(long, value_name = "ADDR|off", env = "HEADWATER_ADMIN")]
    pub admin: Option<String>,
    /// Where tables and streams are kept [default: ./headwater-data]
    #[arg(long, value_name = "DIR", env = "HEADWATER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep everything in memory and nothing on disk
    #[arg(long, env = "HEADWATER_IN_MEMORY", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub in_memory: Option<bool>,
    /// Start on a copy of this snapshot, which stays as it is; the data directory must be new or empty
    #[arg(long, value_name = "DIR", env = "HEADWATER_RESTORE_FROM")]
    pub restore_from: Option<PathBuf>,
    /// When a write is acknowledged: after it is on disk, or before [default: strict]
    #[arg(long, value_enum, env = "HEADWATER_DURABILITY")]
    pub durability: Option<Durability>,
    /// Writes per second above which, for five seconds, a partition and its shard are split; 0: never [default: 1000]
    #[arg(long, value_name = "N", env = "HEADWATER_SPLIT_WRITES_PER_SECOND")]
    pub split_writes_per_second: Option<u64>,
    /// Seconds of store time after which an open shard is rolled over to one child [default: 14400]
    #[arg(long, value_name = "SECONDS", env = "HEADWATER_SHARD_LIFE")]
    pub shard_life: Option<u64>,
    /// Enforce the service's rate limits on reading tables' streams and on data streams
    #[arg(long, env = "HEADWATER_AWS_LIMITS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub aws_limits: Option<bool>,
    /// The account of a request: `123456789012` for all, or `ACCESSKEY=123456789012` for one key (repeatable)
    #[arg(long, value_name = "[KEY=]ACCOUNT", env = "HEADWATER_ACCOUNT", value_delimiter = ',')]
    pub account: Option<Vec<String>>,
    /// Memory for memtables, block cache, ranges read again and queues, in bytes [default: a quarter of the machine's]
    #[arg(long, value_name = "BYTES", env = "HEADWATER_MEMORY")]
    pub memory: Option<u64>,
    /// Access keys, secrets, accounts and principals (TOML); with it every signature is verified
    #[arg(long, value_name = "FILE", env = "HEADWATER_CREDENTIALS")]
    pub credentials: Option<PathBuf>,
    /// Serve every API in TLS alone, with this certificate and those that vouch for it (PEM, its own first)
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_CERTIFICATE")]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of --tls-certificate (PEM); see also `headwater certs --help`
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Allow an address beyond loopback without credentials
    #[arg(long, env = "HEADWATER_INSECURE", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub insecure: Option<bool>,
    /// Let who knows the token move the clock and the shards, on the admin address; see `headwater ctl --help`
    #[arg(long, env = "HEADWATER_CONTROL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub control: Option<bool>,
    /// The token for --control [default: drawn at random and printed]
    #[arg(long, value_name = "TOKEN", env = "HEADWATER_CONTROL_TOKEN", hide_env_values = true)]
    pub control_token: Option<String>,
    /// One JSON line per call: `off`, `stderr` or a file [default: off]
    #[arg(long, value_name = "off|stderr|FILE", env = "HEADWATER_AUDIT")]
    pub audit: Option<String>,
}

impl Options {
    /// Reads a TOML file of options.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// `self` where it says something, else `below`.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            listen_streams: self.listen_streams.or(below.listen_streams),
            listen_kinesis: self.listen_kinesis.or(below.listen_kinesis),
            listen_firehose: self.listen_firehose.or(below.listen_firehose),
            admin: self.admin.or(below.admin),
            data_dir: self.data_dir.or(below.data_dir),
            in_memory: self.in_memory.or(below.in_memory),
            restore_from: self.restore_from.or(below.restore_from),
            durability: self.durability.or(below.durability),
            split_writes_per_second: self.split_writes_per_second.or(below.split_writes_per_second),
            shard_life: self.shard_life.or(below.shard_life),
            aws_limits: self.aws_limits.or(below.aws_limits),
            account: self.account.or(below.account),
            memory: self.memory.or(below.memory),
            credentials: self.credentials.or(below.credentials),
            tls_certificate: self.tls_certificate.or(below.tls_certificate),
            tls_key: self.tls_key.or(below.tls_key),
            insecure: self.insecure.or(below.insecure),
            control: self.control.or(below.control),
            control_token: self.control_token.or(below.control_token),
            audit: self.audit.or(below.audit),
        }
    }
}

/// Where the admin pages are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// Loopback, the port after the API's; a free one if the API's was drawn.
    NextPort,
    /// Here.
    At(SocketAddr),
}

/// Whether the control API is served on the admin address, and to whom.
#[derive(Clone, PartialEq, Eq)]
pub enum ControlAccess {
    /// To nobody.
    Off,
    /// To who knows a token that is drawn at the start.
    Drawn,
    /// To who knows this token.
    Token(String),
}

impl std::fmt::Debug for ControlAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Drawn => "a drawn token",
            Self::Token(_) => "a given token",
        })
    }
}

/// Where audit lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audit {
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// A file, rotated by size.
    File(PathBuf),
}

/// The files that TLS is served with, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where data is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// In memory only.
    Memory,
    /// In a directory.
    Directory(PathBuf),
}

/// Checked settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of all APIs.
    pub listen: SocketAddr,
    /// Own address of DynamoDB Streams.
    pub listen_streams: Option<SocketAddr>,
    /// Own address of Kinesis.
    pub listen_kinesis: Option<SocketAddr>,
    /// Own address of Firehose.
    pub listen_firehose: Option<SocketAddr>,
    /// Where health and metrics are served.
    pub admin: Admin,
    /// Where data is kept.
    pub store: Store,
    /// The snapshot that the store starts as a copy of.
    pub restore_from: Option<PathBuf>,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Writes per second above which a partition is split; zero: never.
    pub split_writes_per_second: u64,
    /// Unit: seconds of store time.
    pub shard_life: u64,
    /// Whether the service's rate limits are enforced.
    pub aws_limits: bool,
    /// Account of keys that are not in `accounts`.
    pub account: String,
    /// Access key → account.
    pub accounts: BTreeMap<String, String>,
    /// Unit: bytes, for memtables, block cache, ranges read again and queues.
    pub memory_bytes: u64,
    /// File of access keys.
    pub credentials: Option<PathBuf>,
    /// What the APIs are served with in TLS; none: they are served in the clear.
    pub tls: Option<TlsFiles>,
    /// Whether the control API is served, and to whom.
    pub control: ControlAccess,
    /// Where audit lines go.
    pub audit: Audit,
}

impl Config {
    /// A server for a test: in memory, on free loopback ports.
    pub fn for_test() -> Self {
        let options = Options {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            in_memory: Some(true),
            memory: Some(256 << 20),
            ..Options::default()
        };
        Self::check(options).expect("the settings of tests are valid")
    }

    /// Checks options and fills in defaults.
    ///
    /// Errors: an address beyond loopback without credentials (unless `insecure`), malformed accounts, contradicting
    /// stores, a certificate without its key.
    pub fn check(options: Options) -> Result<Self> {
        let listen = match options.listen {
            Some(address) => address,
            None => DEFAULT_LISTEN.parse().context("the default address")?,
        };
        let admin = match options.admin.as_deref() {
            None => Admin::NextPort,
            Some("off") => Admin::Off,
            Some(address) => Admin::At(address.parse().with_context(|| format!("--admin {address}"))?),
        };
        let store = match (options.in_memory.unwrap_or(false), options.data_dir) {
            (true, Some(_)) => bail!("--in-memory keeps nothing: it does not go with --data-dir"),
            (true, None) => Store::Memory,
            (false, directory) => Store::Directory(directory.unwrap_or_else(|| PathBuf::from("headwater-data"))),
        };
        let audit = match options.audit.as_deref() {
            None | Some("off") => Audit::Off,
            Some("stderr") => Audit::Stderr,
            Some(file) => Audit::File(PathBuf::from(file)),
        };
        let (account, accounts) = accounts(options.account.unwrap_or_default())?;
        ensure!(
            options.shard_life.is_none_or(|seconds| (1..=SHARD_LIFE_MAX).contains(&seconds)),
            "--shard-life: between 1 and {SHARD_LIFE_MAX} seconds"
        );
        let control = match (options.control.unwrap_or(false), options.control_token) {
            (false, _) => ControlAccess::Off,
            (true, None) => ControlAccess::Drawn,
            (true, Some(token)) => {
                ensure!(token.len() >= TOKEN_MIN, "--control-token: at least {TOKEN_MIN} characters");
                ControlAccess::Token(token)
            }
        };
        ensure!(
            control == ControlAccess::Off || admin != Admin::Off,
            "--control is served on the admin address: it does not go with --admin off"
        );
        let tls = match (options.tls_certificate, options.tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (Some(_), None) => bail!("--tls-certificate needs --tls-key, the private key of that certificate"),
            (None, Some(_)) => bail!("--tls-key needs --tls-certificate, the certificate of that key"),
        };
        let config = Self {
            listen,
            listen_streams: options.listen_streams,
            listen_kinesis: options.listen_kinesis,
            listen_firehose: options.listen_firehose,
            admin,
            store,
            restore_from: options.restore_from,
            durability: options.durability.unwrap_or_default(),
            split_writes_per_second: options.split_writes_per_second.unwrap_or(limits::PARTITION_WRITE_UNITS as u64),
            shard_life: options.shard_life.unwrap_or(limits::SHARD_LIFE_MS as u64 / 1_000),
            aws_limits: options.aws_limits.unwrap_or(false),
            account,
            accounts,
            memory_bytes: options.memory.unwrap_or_else(quarter_of_memory),
            credentials: options.credentials,
            tls,
            control,
            audit,
        };
        config.refuse_open_addresses(options.insecure.unwrap_or(false))?;
        Ok(config)
    }

    fn refuse_open_addresses(&self, insecure: bool) -> Result<()> {
        if insecure || self.credentials.is_some() {
            return Ok(());
        }
        let own = [self.listen_streams, self.listen_kinesis, self.listen_firehose];
        for address in own.into_iter().flatten().chain([self.listen]) {
            ensure!(
                address.ip().is_loopback(),
                "{address} can be reached from other machines and no credentials are configured: \
                 give --credentials FILE, or --insecure if everyone may read and write everything"
            );
        }
        Ok(())
    }
}

fn accounts(given: Vec<String>) -> Result<(String, BTreeMap<String, String>)> {
    let mut default = DEFAULT_ACCOUNT.to_owned();
    let mut accounts = BTreeMap::new();
    for entry in given {
        let (key, account) = match entry.split_once('=') {
            Some((key, account)) => (Some(key), account),
            None => (None, entry.as_str()),
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        ensure!(is_account, "--account {entry}: an account has twelve digits");
        match key {
            Some(key) => drop(accounts.insert(key.to_owned(), account.to_owned())),
            None => default = account.to_owned(),
        }
    }
    Ok((default, accounts))
}

/// A quarter of the machine's memory, or 1 GiB where it cannot be told.
fn quarter_of_memory() -> u64 {
    let total_kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    total_kib.map_or(1 << 30, |kib| kib * 1024 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(toml: &str) -> Options {
        toml::from_str(toml).expect("options parse")
    }

    #[test]
    fn an_open_address_needs_credentials_or_insecure() {
        let open = options("listen = '0.0.0.0:0'");
        assert!(Config::check(open.clone()).is_err());
        assert!(Config::check(Options { insecure: Some(true), ..open.clone() }).is_ok());
        assert!(Config::check(Options { credentials: Some("c.toml".into()), ..open }).is_ok());
        assert!(Config::check(options("listen_streams = '10.0.0.1:0'")).is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = options("listen = '127.0.0.1:1'\naudit = 'stderr'");
        let flags = options("listen = '127.0.0.1:2'");
        let config = Config::check(flags.or(file)).expect("valid");
        assert_eq!((config.listen.port(), config.audit), (2, Audit::Stderr));
    }

    #[test]
    fn accounts_are_twelve_digits_by_key_or_for_all() {
        let config = Config::check(options("account = ['111111111111', 'AK=222222222222']")).expect("valid");
        assert_eq!(config.account, "111111111111");
        assert_eq!(config.accounts.get("AK").map(String::as_str), Some("222222222222"));
        assert!(Config::check(options("account = ['12']")).is_err());
    }

    #[test]
    fn contradictions_and_unknown_names_are_refused() {
        assert!(Config::check(options("in_memory = true\ndata_dir = 'x'")).is_err());
        assert!(toml::from_str::<Options>("listn = '127.0.0.1:1'").is_err());
        assert!(Config::check(options("tls_certificate = 'c.pem'")).is_err());
        assert!(Config::check(options("tls_key = 'k.pem'")).is_err());
        assert!(Config::check(options("tls_certificate = 'c.pem'\ntls_key = 'k.pem'")).is_ok_and(|c| c.tls.is_some()));
    }
}
