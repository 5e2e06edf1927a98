//! Golden exchanges: each file holds a request's bytes and the response's.
//!
//! Lines with `> ` are sent (heads end with CRLF, bodies have none), lines with `< ` are received. `{auth}` stands for a
//! well-formed signature with its date, `{length}` for the length of the body sent; in responses `{id52}` and `{uuid}` stand for
//! request ids that were checked for their form, and Date is left out. `GOLDEN=write cargo test` writes what came instead
//! of comparing.

use std::path::PathBuf;

use crate::client::{AUTHORIZATION, Reply};
use crate::world::World;

/// The request in a file, as bytes.
fn request(text: &str) -> Vec<u8> {
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('>'))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let gap = lines.iter().position(|line| line.is_empty()).expect("a head ends with an empty line");
    let body = lines[gap + 1..].join("\n");
    let auth = format!("Authorization: {AUTHORIZATION}\r\nX-Amz-Date: 20250101T000000Z");
    let head = lines[..gap].join("\r\n").replace("{auth}", &auth).replace("{length}", &body.len().to_string());
    format!("{head}\r\n\r\n{body}").into_bytes()
}

fn is_dynamodb_id(id: &str) -> bool {
    id.len() == 52 && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_uuid(id: &str) -> bool {
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The response in the form of the files.
fn shown(reply: &Reply) -> String {
    let id = reply.header("x-amzn-requestid").unwrap_or_default().to_owned();
    let stands_for = if is_dynamodb_id(&id) {
        "{id52}"
    } else if is_uuid(&id) {
        "{uuid}"
    } else {
        "{no id}"
    };
    let mut out = String::new();
    for line in reply.head.trim_end().lines().filter(|line| !line.starts_with("date: ")) {
        out.push_str(&format!("< {line}\n"));
    }
    out.push_str("<\n");
    let body = match std::str::from_utf8(&reply.body) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{{hex}}{}", reply.body.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    for line in body.lines() {
        out.push_str(&format!("< {line}\n"));
    }
    if id.is_empty() {
        return out;
    }
    if body.contains(&id) {
        // Then the checksum changes with the id; it was checked against the body.
        out = out.replace(reply.header("x-amz-crc32").unwrap_or_default(), "{crc32}");
    }
    out.replace(&id, stands_for)
}

#[tokio::test]
async fn golden_exchanges() {
    let world = World::start().await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_writing = std::env::var("GOLDEN").is_ok_and(|value| value == "write");
    let mut differing = Vec::new();
    // One connection for all: no exchange may harm the next.
    let mut connection = world.connect().await;
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let reply = connection.exchange(&request(&text)).await;
        if reply.header("x-amz-crc32").is_some() {
            assert_eq!(reply.header("x-amz-crc32").unwrap(), crc32fast::hash(&reply.body).to_string());
        }
        let sent: String = text.lines().filter(|line| !line.starts_with('<')).map(|line| format!("{line}\n")).collect();
        let now = format!("{sent}{}", shown(&reply));
        if is_writing {
            std::fs::write(path, &now).unwrap();
        } else if now != text {
            differing.push(format!("{}\n--- expected\n{text}\n--- came\n{now}", path.display()));
        }
        // What hyper refuses by itself, and HTTP/1.0, end their connections.
        if reply.header("connection") == Some("close")
            || reply.header("x-amzn-requestid").is_none()
            || text.contains("HTTP/1.0")
        {
            connection = world.connect().await;
        }
    }
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), files.len(), differing.join("\n"));
    println!("golden exchanges: {}", files.len());
    assert!(files.len() >= 30);
}
