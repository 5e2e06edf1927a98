//! Goal: what the official signer signs is accepted, in header and in query form, and nothing that was changed since.
//! Method: seeded random requests signed by the crate `aws-sigv4`; then each part of each is changed in turn.

use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;

const NOW_S: i64 = 1_750_000_000;
const SERVICES: [&str; 3] = ["dynamodb", "kinesis", "firehose"];

/// A request in parts that can be changed one by one.
#[derive(Clone)]
struct Sent {
    method: String,
    path: String,
    query: String,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
    service: &'static str,
    now: Millis,
}

impl Sent {
    fn check(&self, authenticator: &Authenticator) -> Result<Arc<Caller>, Refusal> {
        authenticator.authenticate(&Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            authority: self.authority.as_deref(),
            headers: &self.headers,
            body: &self.body,
            service: self.service,
            now: self.now,
        })
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn authorization(&self) -> &str {
        self.headers[AUTHORIZATION].to_str().unwrap()
    }
}

fn verified() -> Authenticator {
    let key = |key: &str, secret: &str, token: Option<&str>| Credential {
        key: key.to_owned(),
        secret: secret.to_owned(),
        account: "111122223333".to_owned(),
        principal: (key == "AKIDPLAIN").then(|| "alice".to_owned()),
        session_token: token.map(str::to_owned),
    };
    let keys = vec![
        key("AKIDPLAIN", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None),
        key("ASIATOKEN", "another secret", Some("FQoGZXIvYXdzE/token+of==session")),
    ];
    Authenticator::new(Credentials::verified(keys).unwrap())
}

struct Random(ChaCha12Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    fn text(&mut self, alphabet: &[&str], length_max: usize) -> String {
        (0..self.below(length_max + 1)).map(|_| self.of(alphabet)).collect()
    }
}

/// What a request is before it is signed.
struct Draft {
    key: &'static str,
    is_presigned: bool,
    is_payload_unsigned: bool,
    expires_s: u64,
    region: &'static str,
    made_s: i64,
    sent: Sent,
}

fn draft(random: &mut Random) -> Draft {
    let path_parts = ["a", "B9", "/", "//", ".", "..", "%20", "%2F", "-_~", "%C3%BC", "(x)", "!", "*", "="];
    let query_parts = ["a", "Z", "7", "=", "&", "%20", "+", "%26", "%C3%BC", "-._~", "/", ":", "b="];
    let value_parts = ["v", "  ", " ", ",", "W", "/", "=", "\"", "é"];
    let mut headers = HeaderMap::new();
    for at in 0..random.below(5) {
        let name = HeaderName::from_bytes(format!("x-test-{}", at % 3).as_bytes()).unwrap();
        let value = random.text(&value_parts, 8);
        headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
    }
    headers.insert("x-amz-target", HeaderValue::from_static("DynamoDB_20120810.PutItem"));
    headers.insert("user-agent", HeaderValue::from_static("agent"));
    let is_presigned = random.below(3) == 0;
    let body_size = if random.below(4) == 0 { 0 } else { random.below(3_000) };
    Draft {
        key: random.of(&["AKIDPLAIN", "ASIATOKEN"]),
        is_presigned,
        is_payload_unsigned: random.below(5) == 0,
        expires_s: 300 + random.below(2_000) as u64,
        region: random.of(&["us-east-1", "eu-central-2", "localhost"]),
        made_s: NOW_S + random.below(590) as i64 - 295,
        sent: Sent {
            method: random.of(&["POST", "GET", "PUT"]).to_owned(),
            path: format!("/{}", random.text(&path_parts, 6)),
            query: random.text(&query_parts, 8),
            authority: (random.below(3) == 0).then(|| "example.test:8000".to_owned()),
            headers,
            body: (0..body_size).map(|_| random.below(256) as u8).collect(),
            service: random.of(&SERVICES.map(|name| name)),
            now: Millis(NOW_S * 1_000 + 123),
        },
    }
}

/// Signs by the official signer.
fn signed(draft: &Draft) -> Sent {
    let mut sent = draft.sent.clone();
    let (secret, token) = match draft.key {
        "AKIDPLAIN" => ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None),
        _ => ("another secret", Some("FQoGZXIvYXdzE/token+of==session".to_owned())),
    };
    let identity = aws_credential_types::Credentials::new(draft.key, secret, token, None, "test").into();
    let mut settings = SigningSettings::default();
    if draft.is_presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(draft.expires_s));
    }
    if draft.is_payload_unsigned {
        if draft.is_presigned {
            let joint = if sent.query.is_empty() { "" } else { "&" };
            sent.query.push_str(&format!("{joint}X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"));
        } else {
            sent.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
        }
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(draft.region)
        .name(sent.service)
        .time(UNIX_EPOCH + Duration::from_secs(draft.made_s as u64))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let mark = if sent.query.is_empty() { "" } else { "?" };
    let uri = format!("http://example.test:8000{}{mark}{}", sent.path, sent.query);
    let named: Vec<(&str, &str)> = sent
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_bytes()).unwrap()))
        .collect();
    let body = if draft.is_payload_unsigned { SignableBody::UnsignedPayload } else { SignableBody::Bytes(&sent.body) };
    let request = SignableRequest::new(&sent.method, &uri, named.into_iter(), body).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut request = hyper::Request::builder().method(sent.method.as_str()).uri(&uri).body(()).unwrap();
    *request.headers_mut() = sent.headers.clone();
    instructions.apply_to_request_http1x(&mut request);
    sent.path = request.uri().path().to_owned();
    sent.query = request.uri().query().unwrap_or_default().to_owned();
    sent.headers = request.headers().clone();
    if sent.authority.is_none() {
        sent.headers.insert(HOST, HeaderValue::from_static("example.test:8000"));
    }
    sent
}

/// Every request that differs from `sent` in one signed part.
fn changed(draft: &Draft, sent: &Sent) -> Vec<(String, Sent)> {
    let mut all = Vec::new();
    let mut change = |what: String, edit: &dyn Fn(&mut Sent)| {
        let mut other = sent.clone();
        edit(&mut other);
        all.push((what, other));
    };
    change("method".to_owned(), &|sent| sent.method.push('X'));
    change("path".to_owned(), &|sent| sent.path.push('x'));
    change("query".to_owned(), &|sent| sent.query.push_str("&added=1"));
    change("service".to_owned(), &|sent| {
        sent.service = SERVICES.into_iter().find(|name| *name != sent.service).unwrap();
    });
    change("later".to_owned(), &|sent| sent.now = Millis(sent.now.0 + 2_600_000));
    change("earlier".to_owned(), &|sent| sent.now = Millis(sent.now.0 - 600_000));
    if !draft.is_payload_unsigned {
        change("body longer".to_owned(), &|sent| sent.body.push(0));
        if !sent.body.is_empty() {
            change("body bit".to_owned(), &|sent| sent.body[0] ^= 1);
        }
    }
    match &sent.authority {
        Some(_) => change("authority".to_owned(), &|sent| sent.authority = Some("evil.test:8000".to_owned())),
        None => change("host".to_owned(), &|sent| {
            sent.headers.insert(HOST, HeaderValue::from_static("evil.test:8000"));
        }),
    }
    for name in sent.headers.keys() {
        let name = name.clone();
        if [AUTHORIZATION.as_str(), "user-agent", "host"].contains(&name.as_str()) {
            continue;
        }
        let key = name.clone();
        change(format!("header {name}"), &move |sent| {
            let value = [sent.headers[&key].as_bytes(), b"x"].concat();
            sent.headers.insert(key.clone(), HeaderValue::from_bytes(&value).unwrap());
        });
        let key = name.clone();
        change(format!("second header {name}"), &move |sent| {
            sent.headers.append(key.clone(), HeaderValue::from_static("more"));
        });
        change(format!("no header {name}"), &move |sent| {
            sent.headers.remove(&name);
        });
    }
    // Each character class of the claim itself: the key, the region, the signature's last digit, the signed headers.
    for (from, to) in [("AKIDPLAIN", "AKIDPLAIO"), ("ASIATOKEN", "AKIDPLAIN"), ("/us-east-1/", "/us-east-2/")] {
        let (from, to) = (from.to_owned(), to.to_owned());
        change(format!("claim {from}"), &move |sent| {
            if draft.is_presigned {
                let quoted = (from.replace('/', "%2F"), to.replace('/', "%2F"));
                sent.query = sent.query.replace(&quoted.0, &quoted.1);
            } else {
                let value = sent.authorization().replace(&from, &to);
                sent.headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
            }
        });
    }
    change("signature".to_owned(), &|sent| {
        let flip = |text: &str| {
            let (head, last) = text.split_at(text.len() - 1);
            format!("{head}{}", if last == "0" { "1" } else { "0" })
        };
        if draft.is_presigned {
            let at = sent.query.find("X-Amz-Signature=").unwrap() + "X-Amz-Signature=".len() + 64;
            let (head, tail) = sent.query.split_at(at);
            sent.query = format!("{}{tail}", flip(head));
        } else {
            let value = flip(sent.authorization());
            sent.headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        }
    });
    all
}

fn is_same(left: &Sent, right: &Sent) -> bool {
    (&left.method, &left.path, &left.query, &left.authority, &left.headers, &left.body, left.service, left.now)
        == (
            &right.method,
            &right.path,
            &right.query,
            &right.authority,
            &right.headers,
            &right.body,
            right.service,
            right.now,
        )
}

#[test]
fn what_the_official_signer_signs_is_accepted_and_nothing_changed_is() {
    let authenticator = verified();
    let mut random = Random(ChaCha12Rng::seed_from_u64(4));
    let (mut accepted, mut presigned, mut unsigned, mut refused) = (0, 0, 0, 0);
    while accepted < 600 {
        let draft = draft(&mut random);
        let sent = signed(&draft);
        let caller = sent.check(&authenticator).unwrap_or_else(|refusal| {
            panic!("{refusal:?}\n{} {}?{}\n{:?}", sent.method, sent.path, sent.query, sent.headers)
        });
        assert_eq!((&*caller.principal.account, &*caller.region), ("111122223333", draft.region));
        let name = if draft.key == "AKIDPLAIN" { "alice" } else { "ASIATOKEN" };
        assert_eq!(*caller.principal.arn, *format!("arn:aws:iam::111122223333:user/{name}"));
        accepted += 1;
        presigned += usize::from(draft.is_presigned);
        unsigned += usize::from(draft.is_payload_unsigned);
        for (what, other) in changed(&draft, &sent) {
            if is_same(&sent, &other) {
                continue;
            }
            assert!(other.check(&authenticator).is_err(), "changed {what}: {:?} {}", other.headers, other.query);
            refused += 1;
        }
        let other_agent = sent.clone().header("user-agent", "changed by a proxy");
        assert!(other_agent.check(&authenticator).is_ok(), "what is not signed may change");
    }
    println!("accepted {accepted} (presigned {presigned}, unsigned payload {unsigned}), refused {refused}");
    assert!(presigned > 100 && unsigned > 50 && refused > 6_000);
}

fn plain() -> Sent {
    let mut random = Random(ChaCha12Rng::seed_from_u64(1));
    let mut draft = draft(&mut random);
    (draft.key, draft.region, draft.made_s) = ("AKIDPLAIN", "us-east-1", NOW_S);
    (draft.is_presigned, draft.is_payload_unsigned) = (false, false);
    draft.sent.service = "dynamodb";
    signed(&draft)
}

#[track_caller]
fn refused(sent: Sent, code: Code, message: &str) {
    let refusal = sent.check(&verified()).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
}

fn with_authorization(value: &str) -> Sent {
    plain().header("authorization", value)
}

#[test]
fn missing_and_malformed_signatures_are_told_in_the_services_words() {
    let good = plain();
    let mut none = good.clone();
    none.headers.remove(AUTHORIZATION);
    refused(none, Code::MissingAuthenticationToken, "Request is missing Authentication Token");
    refused(
        with_authorization("Basic abc"),
        Code::MissingAuthenticationToken,
        "Request is missing Authentication Token",
    );
    let mut both = good.clone();
    both.query = "X-Amz-Algorithm=a".to_owned();
    refused(
        both,
        Code::InvalidSignature,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
    );
    let mut undated = with_authorization("AWS4-HMAC-SHA256 x=y");
    undated.headers.remove("x-amz-date");
    refused(
        undated,
        Code::IncompleteSignature,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
         Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a \
         'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 x=y",
    );
    refused(
        with_authorization("AWS4-HMAC-SHA256 Signature=b, Credential, SignedHeaders"),
        Code::IncompleteSignature,
        "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: \
         'AWS4-HMAC-SHA256 Signature=b, Credential, SignedHeaders'.",
    );
    let mut query = good.clone();
    query.headers.remove(AUTHORIZATION);
    query.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20250615T150640Z".to_owned();
    refused(
        query,
        Code::IncompleteSignature,
        "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include \
         'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string \
         parameters.",
    );
    refused(
        good.clone().header("x-amz-date", "201"),
        Code::IncompleteSignature,
        "Date must be in ISO-8601 'basic format'. Got '201'. See http://en.wikipedia.org/wiki/ISO_8601",
    );
}

#[test]
fn dates_scopes_keys_and_tokens_are_refused_in_the_services_order() {
    let good = plain();
    let whole = good.authorization().to_owned();
    let at = |offset_s: i64| Sent { now: Millis((NOW_S + offset_s) * 1_000), ..plain() };
    assert!(at(300).check(&verified()).is_ok() && at(-300).check(&verified()).is_ok());
    refused(
        at(301),
        Code::InvalidSignature,
        "Signature expired: 20250615T150640Z is now earlier than 20250615T150641Z (20250615T151141Z - 5 min.)",
    );
    refused(
        at(-301),
        Code::InvalidSignature,
        "Signature not yet current: 20250615T150640Z is still later than 20250615T150639Z (20250615T150139Z + 5 min.)",
    );
    refused(
        with_authorization(&whole.replace(";host;", ";").replace("=host;", "=")),
        Code::InvalidSignature,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    );
    refused(
        with_authorization(&whole.replace(";x-amz-target", "")),
        Code::InvalidSignature,
        "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
    );
    refused(
        with_authorization(&whole.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA25")),
        Code::IncompleteSignature,
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA25'. ",
    );
    refused(
        with_authorization(&whole.replace("AKIDPLAIN/20250615/us-east-1/dynamodb/aws4_request", "a/b/c/d")),
        Code::IncompleteSignature,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d'",
    );
    refused(
        with_authorization(&whole.replace("AKIDPLAIN/20250615/us-east-1/dynamodb/aws4_request", "a/b/c d/e/f")),
        Code::InvalidSignature,
        "Credential should be scoped to a valid region, not 'c d'. Credential should be scoped to correct service: \
         'dynamodb'. Credential should be scoped with a valid terminator: 'aws4_request', not 'f'. Date in Credential \
         scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: 'b' != '20250615', from \
         '20250615T150640Z'. ",
    );
    refused(
        with_authorization(&whole.replace("AKIDPLAIN", "NOBODY")),
        Code::UnrecognizedClient,
        "The security token included in the request is invalid.",
    );
    refused(
        with_authorization(&whole.replace("Signature=", "Signature=0")),
        Code::InvalidSignature,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details.",
    );
    let unwanted = good.header("x-amz-security-token", "surplus");
    refused(unwanted, Code::UnrecognizedClient, "The security token included in the request is invalid.");
}

#[test]
fn presigned_requests_end_after_their_life_or_a_quarter_of_an_hour() {
    let authenticator = verified();
    for (expires_s, last_s) in [(60, 60), (900, 900), (2_000, 900)] {
        let mut random = Random(ChaCha12Rng::seed_from_u64(9));
        let mut draft = draft(&mut random);
        (draft.is_presigned, draft.expires_s, draft.made_s) = (true, expires_s, NOW_S);
        let sent = signed(&draft);
        let at = |offset_s: i64| Sent { now: Millis((NOW_S + offset_s) * 1_000), ..sent.clone() };
        assert!(at(last_s).check(&authenticator).is_ok(), "{expires_s}");
        let refusal = at(last_s + 1).check(&authenticator).unwrap_err();
        assert!(refusal.message.starts_with("Signature expired: "), "{}", refusal.message);
        assert!(at(-301).check(&authenticator).is_err());
    }
}

#[test]
fn without_credentials_any_wellformed_signature_names_account_and_region() {
    let accounts = BTreeMap::from([("alice".to_owned(), "111122223333".to_owned())]);
    let accounts = credentials::Accounts { by_key: accounts, ..Default::default() };
    let open = Authenticator::new(Credentials::open(accounts).unwrap());
    let credential = |credential: &str| {
        with_authorization(&format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"))
    };
    for _ in 0..2 {
        for (given, account, region) in [
            ("alice/20200101/eu-west-1/dynamodb/aws4_request", "111122223333", "eu-west-1"),
            ("444455556666/20200101/us-east-1/dynamodb/aws4_request", "444455556666", "us-east-1"),
            ("fakeMyKeyId/20200101/fakeRegion/dynamodb/aws4_request", "000000000000", "fakeRegion"),
        ] {
            let caller = credential(given).check(&open).unwrap();
            assert_eq!((&*caller.principal.account, &*caller.region), (account, region));
        }
    }
    for wrong in ["a/b/c", "a/20200101//dynamodb/aws4_request", "a/20200101/../dynamodb/aws4_request"] {
        assert!(credential(wrong).check(&open).is_err(), "{wrong}");
    }
    let mut none = plain();
    none.headers.remove(AUTHORIZATION);
    assert_eq!(none.check(&open).unwrap_err().code, Code::MissingAuthenticationToken);
}

#[test]
fn kept_callers_are_bounded() {
    let open = Authenticator::new(Credentials::Open(Arc::default()));
    for at in 0..3 * CALLERS_KEPT_MAX {
        let value = format!("AWS4-HMAC-SHA256 Credential=k{at}/1/r/s/t, SignedHeaders=host, Signature=00");
        assert!(with_headers(&value).check(&open).is_ok());
        assert!(open.known.read().len() <= CALLERS_KEPT_MAX);
    }
}

fn with_headers(authorization: &str) -> Sent {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
    headers.insert("x-amz-date", HeaderValue::from_static("20250615T150640Z"));
    Sent {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        authority: None,
        headers,
        body: Vec::new(),
        service: "dynamodb",
        now: Millis(NOW_S * 1_000),
    }
}

#[test]
fn no_text_in_place_of_a_signature_breaks_the_parser() {
    let pieces = [
        "AWS4-HMAC-SHA256",
        " ",
        ",",
        "=",
        "Credential=a/b/us-east-1/dynamodb/aws4_request,",
        "SignedHeaders=host,",
        "Signature=00,",
        "/",
        ";",
        "é",
        "%",
        "%4",
        "&",
        "X-Amz-Credential=a/b/us-east-1/dynamodb/aws4_request&",
        "X-Amz-Date=20250615T150640Z&",
        "X-Amz-Signature=0&",
        "X-Amz-SignedHeaders=host&",
        "X-Amz-Expires=-9223372036854775808&",
        "\t",
    ];
    let mut random = Random(ChaCha12Rng::seed_from_u64(77));
    let authenticators = [verified(), Authenticator::new(Credentials::Open(Arc::default()))];
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..20_000 {
        let mut sent = with_headers("x");
        let text = random.text(&pieces, 14);
        if random.below(2) == 0 {
            let value = format!("AWS4-HMAC-SHA256 {text}");
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
            sent.headers.insert(AUTHORIZATION, value);
        } else {
            sent.headers.remove(AUTHORIZATION);
            sent.query = format!("X-Amz-Algorithm=a&{text}");
        }
        for authenticator in &authenticators {
            let counted = if sent.check(authenticator).is_ok() { &mut accepted } else { &mut refused };
            *counted += 1;
        }
        Authenticator::named_key(&sent.headers, &sent.query);
    }
    println!("random signatures refused {refused}, accepted where none is verified {accepted}");
    assert!(refused > 30_000 && accepted > 0);
}
