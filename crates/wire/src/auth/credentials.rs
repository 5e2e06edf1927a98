//! Who may call: the configured keys, or, with none configured, the account that an access key stands for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

/// Account of callers that no map names. Source: the account of other local endpoints.
pub const ACCOUNT_DEFAULT: &str = "000000000000";

/// One access key and what it stands for.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Access key id.
    pub key: String,
    /// Secret access key.
    pub secret: String,
    /// Twelve digits.
    #[serde(default = "account_default")]
    pub account: String,
    /// Name of the caller, an IAM user's or role's; the access key when missing.
    pub principal: Option<String>,
    /// Session token that requests must carry, for temporary keys.
    pub session_token: Option<String>,
}

fn account_default() -> String {
    ACCOUNT_DEFAULT.to_owned()
}

/// A secret never reaches a log.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("key", &self.key).field("account", &self.account).finish_non_exhaustive()
    }
}

/// The credentials file or an account map cannot be used.
#[derive(Debug)]
pub struct InvalidCredentials(String);

impl fmt::Display for InvalidCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidCredentials {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    credential: Vec<Credential>,
}

/// What decides who a caller is.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Signatures are verified against these keys; key id → credential.
    Verified(Arc<BTreeMap<String, Credential>>),
    /// Any well-formed signature is accepted.
    Open(Arc<Accounts>),
}

/// Accounts of access keys where no credentials are configured.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Access key → account.
    pub by_key: BTreeMap<String, String>,
    /// Account of every key that is not in the map and is no account itself.
    pub other: String,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), other: ACCOUNT_DEFAULT.to_owned() }
    }
}

impl Accounts {
    /// Account of an access key: the map's, the key itself when it has the form of an account, else the one for all.
    pub fn of<'a>(&'a self, access_key: &'a str) -> &'a str {
        match self.by_key.get(access_key) {
            Some(account) => account,
            None if is_account(access_key) => access_key,
            None => &self.other,
        }
    }
}

/// Twelve digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Credentials {
    /// Any well-formed signature, access keys mapped to accounts.
    ///
    /// Errors: an account that is not twelve digits.
    pub fn open(accounts: Accounts) -> Result<Self, InvalidCredentials> {
        let all = accounts.by_key.iter().map(|(key, account)| (key.as_str(), account));
        let wrong = all.chain([("(any other)", &accounts.other)]).find(|(_, account)| !is_account(account));
        if let Some((key, account)) = wrong {
            return Err(InvalidCredentials(format!("account {account:?} of access key {key:?} is not twelve digits")));
        }
        Ok(Self::Open(Arc::new(accounts)))
    }

    /// Verified signatures against `list`.
    ///
    /// Errors: an empty list, an empty key or secret, a key given twice, an account that is not twelve digits.
    pub fn verified(list: Vec<Credential>) -> Result<Self, InvalidCredentials> {
        if list.is_empty() {
            return Err(InvalidCredentials("no credential is given, so nobody could call".to_owned()));
        }
        let mut keys = BTreeMap::new();
        for credential in list {
            let key = credential.key.clone();
            if key.is_empty() || key.contains('/') || credential.secret.is_empty() {
                return Err(InvalidCredentials(format!("access key {key:?} or its secret is empty or holds a slash")));
            }
            if !is_account(&credential.account) {
                return Err(InvalidCredentials(format!("account of access key {key:?} is not twelve digits")));
            }
            if keys.insert(key.clone(), credential).is_some() {
                return Err(InvalidCredentials(format!("access key {key:?} is given twice")));
            }
        }
        Ok(Self::Verified(Arc::new(keys)))
    }

    /// Reads a credentials file: TOML with `[[credential]]` tables (key, secret, account, principal, session_token), or one
    /// `key, secret, account, principal` a line with `#` comments.
    ///
    /// Errors: an unreadable file, and those of [`Credentials::verified`].
    pub fn from_file(path: &Path) -> Result<Self, InvalidCredentials> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|e| InvalidCredentials(format!("cannot read {shown}: {e}")))?;
        Self::from_text(&text).map_err(|e| InvalidCredentials(format!("{shown}: {e}")))
    }

    /// As [`Credentials::from_file`], from the file's text.
    pub fn from_text(text: &str) -> Result<Self, InvalidCredentials> {
        if text.contains("[[credential]]") {
            // The parser's message quotes the line it stopped at, which may hold a secret: only its place is told.
            let file: File = toml::from_str(text).map_err(|e| {
                let line = e.span().map_or(0, |span| text.get(..span.start).unwrap_or(text).lines().count());
                InvalidCredentials(format!("not a credentials file, near line {line}: {}", e.message()))
            })?;
            return Self::verified(file.credential);
        }
        let mut list = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let (key, secret, rest) = match fields.as_slice() {
                [key, secret, rest @ ..] if rest.len() <= 2 => (*key, *secret, rest),
                _ => {
                    let reason = format!("line {} is not `key, secret, account, principal`", at + 1);
                    return Err(InvalidCredentials(reason));
                }
            };
            let given =
                |place: usize| rest.get(place).filter(|field| !field.is_empty()).map(|field| (*field).to_owned());
            list.push(Credential {
                key: key.to_owned(),
                secret: secret.to_owned(),
                account: given(0).unwrap_or_else(account_default),
                principal: given(1),
                session_token: None,
            });
        }
        Self::verified(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_file_are_read() {
        let lines = "# users\nAKIDA, secret/+a, 111122223333, alice\nAKIDB,b\n";
        let tables = "[[credential]]\nkey = \"AKIDA\"\nsecret = \"secret/+a\"\naccount = \"111122223333\"\nprincipal = \"alice\"\n[[credential]]\nkey = \"AKIDB\"\nsecret = \"b\"\n";
        for text in [lines, tables] {
            let Credentials::Verified(keys) = Credentials::from_text(text).unwrap() else { panic!("not verified") };
            let (first, second) = (&keys["AKIDA"], &keys["AKIDB"]);
            assert_eq!((first.secret.as_str(), first.account.as_str()), ("secret/+a", "111122223333"));
            assert_eq!(first.principal.as_deref(), Some("alice"));
            assert_eq!((second.account.as_str(), &second.principal), (ACCOUNT_DEFAULT, &None));
        }
    }

    #[test]
    fn unusable_files_are_refused_without_showing_a_secret() {
        for text in [
            "",
            "AKID",
            "AKID, HIDDEN, 12",
            "AKID, HIDDEN\nAKID, HIDDEN",
            ", HIDDEN",
            "a, HIDDEN, , x, y",
            "[[credential]]\nkey = \"A\"\nsecret = HIDDEN\n",
            "[[credential]]\nkey = \"A\"\nsecret = \"HIDDEN\"\nx = 1\n",
        ] {
            let error = Credentials::from_text(text).unwrap_err().to_string();
            assert!(!error.contains("HIDDEN"), "{error}");
        }
    }

    #[test]
    fn accounts_of_access_keys() {
        let map = BTreeMap::from([("alice".to_owned(), "111122223333".to_owned())]);
        let accounts = Accounts { by_key: map, ..Accounts::default() };
        assert_eq!(accounts.of("alice"), "111122223333");
        assert_eq!(accounts.of("444455556666"), "444455556666");
        assert_eq!(accounts.of("anyone"), ACCOUNT_DEFAULT);
        let other = Accounts { other: "999999999999".to_owned(), ..accounts };
        assert_eq!(other.of("anyone"), "999999999999");
        assert!(Credentials::open(Accounts { other: "12".to_owned(), ..Accounts::default() }).is_err());
        let by_key = BTreeMap::from([("a".to_owned(), "12".to_owned())]);
        assert!(Credentials::open(Accounts { by_key, ..Accounts::default() }).is_err());
    }
}
