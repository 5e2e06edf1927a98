//! A policy document: checked, and brought to the one form in which the service shows and compares it.
//!
//! The form: members in a fixed order without blanks, a list of one as its element, an account as its root, a principal
//! once, `Allow` and `Deny` in that spelling, one statement as a list of one. A missing version is shown as the oldest, and
//! differs from it when two documents are compared.
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-207,
//! DDB-TABLE-208, DDB-TABLE-351 to DDB-TABLE-356, DDB-TABLE-442, DDB-TABLE-457).

use std::collections::BTreeSet;

use headwater_api::Error;
use serde_json::{Map, Value};

use crate::dynamodb::table::invalid;

/// Blanks count. Source: "Resource-based policy considerations", DynamoDB developer guide.
const BYTES_MAX: usize = 20_480;
/// Shown where the document names none. Source: "Version", IAM JSON policy elements reference.
const VERSION_DEFAULT: &str = "2008-10-17";
/// Members of a document, in the order they are shown.
const DOCUMENT: [&str; 3] = ["Version", "Id", "Statement"];
/// Members of a statement, in the order they are shown.
const STATEMENT: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

/// A checked document in its one form.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Document(Map<String, Value>);

impl Document {
    /// Checks a document.
    ///
    /// Errors: ValidationException.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > BYTES_MAX {
            return invalid(format!("Maximum policy size of {BYTES_MAX} bytes exceeded"));
        }
        let mut document = match serde_json::from_str(text) {
            Ok(Value::Object(document)) => document,
            Ok(Value::Array(_)) | Err(_) => return wrong("This policy contains invalid Json"),
            Ok(_) => return wrong("This text appears not to be a policy"),
        };
        let statements = match document.remove("Statement") {
            Some(Value::Array(statements)) => statements,
            Some(one @ Value::Object(_)) => vec![one],
            Some(_) | None => return syntax(text),
        };
        if statements.is_empty() {
            return wrong("Could not parse the policy: Statement is empty!");
        }
        let texts = document.iter().all(|(name, value)| DOCUMENT.contains(&name.as_str()) && value.is_string());
        if !texts {
            return syntax(text);
        }
        let statements: Vec<Value> =
            statements.into_iter().map(|one| statement(one, text)).collect::<Result<_, Error>>()?;
        let mut ids = BTreeSet::new();
        let names = statements.iter().filter_map(|statement| statement.get("Sid")?.as_str());
        for name in names {
            if !ids.insert(name) {
                return wrong("The Statement Ids in the policy are not unique");
            }
        }
        if statements.iter().any(is_unbounded) {
            return Err(Error::validation(
                "Resource-based policy grants unbounded access in one or more elements. Please revise the policy to \
                 ensure least-privilege form of access",
            ));
        }
        document.insert("Statement".to_owned(), Value::Array(statements));
        Ok(Self(document))
    }

    /// As it is kept.
    pub(crate) fn encode(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// What [`Document::encode`] made.
    pub(crate) fn decode(kept: &Value) -> Option<Self> {
        kept.as_object().cloned().map(Self)
    }

    /// As it is shown.
    pub(crate) fn render(&self) -> String {
        let mut shown = self.0.clone();
        shown.entry("Version").or_insert_with(|| VERSION_DEFAULT.into());
        let statements = shown.get("Statement").and_then(Value::as_array).into_iter().flatten();
        let statements: Vec<String> =
            statements.filter_map(Value::as_object).map(|members| ordered(members, &STATEMENT)).collect();
        let statements = format!("\"Statement\":[{}]", statements.join(","));
        shown.remove("Statement");
        let head = ordered(&shown, &DOCUMENT);
        format!("{},{statements}}}", head.strip_suffix('}').unwrap_or(&head))
    }
}

fn ordered(members: &Map<String, Value>, names: &[&str]) -> String {
    let member = |name: &&str| members.get(*name).map(|value| format!("\"{name}\":{value}"));
    let members: Vec<String> = names.iter().filter_map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn wrong<T>(why: &str) -> Result<T, Error> {
    invalid(format!("Invalid policy document: {why}"))
}

/// The service names the place where its parser stopped; ours is always the end of the document.
fn syntax<T>(text: &str) -> Result<T, Error> {
    let line = text.lines().count().max(1);
    let column = text.lines().last().map_or(0, |last| last.chars().count()) + 1;
    wrong(&format!("Syntax error at position ({line},{column})"))
}

fn statement(given: Value, text: &str) -> Result<Value, Error> {
    let Value::Object(mut members) = given else { return syntax(text) };
    if members.keys().any(|name| !STATEMENT.contains(&name.as_str())) {
        return syntax(text);
    }
    for (name, opposite) in
        [("Effect", "Effect"), ("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")]
    {
        if !members.contains_key(name) && !members.contains_key(opposite) {
            return wrong(&format!("Missing required field {name}"));
        }
    }
    for (name, value) in &mut members {
        let fits = match name.as_str() {
            "Sid" => value.is_string(),
            "Condition" => value.is_object(),
            "Effect" => effect(value),
            "Principal" | "NotPrincipal" => principal(value),
            _ => texts(value),
        };
        if !fits {
            return syntax(text);
        }
    }
    Ok(Value::Object(members))
}

fn effect(value: &mut Value) -> bool {
    for spelled in ["Allow", "Deny"] {
        if value.as_str().is_some_and(|given| given.eq_ignore_ascii_case(spelled)) {
            *value = spelled.into();
            return true;
        }
    }
    false
}

/// `*`, or lists of principals by their kind.
fn principal(value: &mut Value) -> bool {
    match value {
        Value::String(all) => all == "*",
        Value::Object(kinds) => {
            !kinds.is_empty()
                && kinds.iter_mut().all(|(kind, given)| {
                    if !matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser") || !texts(given) {
                        return false;
                    }
                    if kind == "AWS" {
                        roots(given);
                    }
                    true
                })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// Accounts become their roots; each principal stands once.
fn roots(given: &mut Value) {
    let root = |text: &str| {
        let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_account { format!("arn:aws:iam::{text}:root") } else { text.to_owned() }
    };
    let mut all: Vec<String> = Vec::new();
    let elements = given.as_array().map_or_else(|| vec![&*given], |list| list.iter().collect());
    for element in elements.into_iter().filter_map(Value::as_str).map(root) {
        if !all.contains(&element) {
            all.push(element);
        }
    }
    *given = all.into_iter().map(Value::from).collect();
    texts(given);
}

/// A text or a list of texts; a list of one becomes its element.
fn texts(value: &mut Value) -> bool {
    if let Value::Array(list) = value {
        if list.is_empty() || !list.iter().all(Value::is_string) {
            return false;
        }
        if list.len() == 1
            && let Some(one) = list.pop()
        {
            *value = one;
        }
        return true;
    }
    value.is_string()
}

/// Allows something to everybody, without a condition.
fn is_unbounded(statement: &Value) -> bool {
    let all = |value: &Value| match value {
        Value::Array(list) => list.iter().any(|one| one == "*"),
        one => one == "*",
    };
    let principal = statement.get("Principal");
    let everybody = principal.is_some_and(|given| all(given) || given.get("AWS").is_some_and(all));
    statement.get("Effect").is_some_and(|effect| effect == "Allow") && everybody && statement.get("Condition").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_documents_have_one_form() {
        let shown = concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","#,
            r#""Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"dynamodb:GetItem","Resource":"*"}]}"#
        );
        for given in [
            shown,
            r#"{ "Statement": { "Resource": ["*"], "Action": ["dynamodb:GetItem"], "Effect": "allow", "Sid": "a",
                 "Principal": { "AWS": ["111122223333", "arn:aws:iam::111122223333:root"] } },
                 "Version": "2012-10-17" }"#,
        ] {
            let document = Document::parse(given).expect("a policy");
            assert_eq!(document.render(), shown);
            assert_eq!(Document::decode(&document.encode()), Some(document));
        }
    }

    #[test]
    fn a_missing_version_is_shown_and_is_another_document() {
        let statement = r#"[{"Effect":"Deny","Principal":"*","Action":["a:b","a:c"],"Resource":"*"}]"#;
        let without = Document::parse(&format!(r#"{{"Statement":{statement}}}"#)).expect("a policy");
        let with = Document::parse(&without.render()).expect("a policy");
        assert_eq!(without.render(), format!(r#"{{"Version":"2008-10-17","Statement":{statement}}}"#));
        assert_eq!(without.render(), with.render());
        assert_ne!(without, with);
    }

    #[test]
    fn what_is_no_policy_is_refused_in_the_services_words() {
        let of = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        let allow = r#"{"Sid":"a","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"a:b","Resource":"*"}"#;
        for (given, why) in [
            (String::new(), "This policy contains invalid Json"),
            ("[]".to_owned(), "This policy contains invalid Json"),
            ("null".to_owned(), "This text appears not to be a policy"),
            ("{}".to_owned(), "Syntax error at position (1,3)"),
            (of("[]"), "Could not parse the policy: Statement is empty!"),
            (of("[{}]"), "Missing required field Effect"),
            (of(&allow.replace(r#","Resource":"*""#, "")), "Missing required field Resource"),
            (of(&format!("[{allow},{allow}]")), "The Statement Ids in the policy are not unique"),
        ] {
            let refusal = Document::parse(&given).expect_err(&given);
            let expected = format!("One or more parameter values were invalid: Invalid policy document: {why}");
            assert_eq!(refusal.message(), Some(expected.as_str()), "{given}");
        }
        let bare = of(&allow.replace(r#"{"AWS":"111122223333"}"#, r#""111122223333""#));
        let text = Document::parse(&bare).expect_err("a bare account").message().unwrap_or_default().to_owned();
        assert!(text.contains("Syntax error at position (1,"), "{text}");
        let everybody = of(&allow.replace("111122223333", "*"));
        let text = Document::parse(&everybody).expect_err("everybody").message().unwrap_or_default().to_owned();
        assert!(text.starts_with("Resource-based policy grants unbounded access"), "{text}");
    }

    #[test]
    fn a_document_may_have_20480_bytes_and_not_one_more() {
        let allow =
            r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"a:b","Resource":"*"},"Version":"2012-10-17"}"#;
        let sized = |bytes: usize| format!("{allow}{}", " ".repeat(bytes - allow.len()));
        assert!(Document::parse(&sized(BYTES_MAX)).is_ok());
        let refusal = Document::parse(&sized(BYTES_MAX + 1)).expect_err("too large");
        let expected = "One or more parameter values were invalid: Maximum policy size of 20480 bytes exceeded";
        assert_eq!(refusal.message(), Some(expected));
    }
}
