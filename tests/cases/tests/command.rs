//! The command: what it lists, and that an endpoint of another kind makes it fail.
#![allow(clippy::disallowed_methods, reason = "a listener on a thread of its own")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use headwater_cases::Cases;

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwater-cases")).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_unverified_are_listed_and_counted() {
    let cases = Cases::read(&Cases::folder()).expect("the cases are readable");
    let wanted = cases.all.iter().filter(|case| case.text["source"].to_string().contains("unverified"));
    let wanted: Vec<String> = wanted.map(|case| format!("{}: {}", case.title(), case.source)).collect();
    let listed = command(&["--unverified"]);
    let output = text(&listed.stdout);
    assert_eq!(listed.status.code(), Some(0), "{output}");
    let lines: Vec<&str> = output.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(lines, wanted);
    let last = format!("{:5} of {:4}  cases are unverified", wanted.len(), cases.all.len());
    assert_eq!(output.lines().last(), Some(last.as_str()));
    assert!(!wanted.is_empty(), "nothing was listed");
}

/// An endpoint that gives every request the same answer; its URL.
fn always(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 16_384]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn what_does_not_answer_like_the_service_is_told() {
    let output = command(&["--endpoint", &always("{}")]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let complaint = text(&output.stderr);
    assert!(complaint.contains("CreateTable answers 200 {}"), "{complaint}");
    for (endpoint, why) in [("https://example.org", "http://"), ("http://127.0.0.1:1", "127.0.0.1:1")] {
        let output = command(&["--endpoint", endpoint]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}

#[test]
fn another_answer_fails_the_case_and_the_command() {
    let table =
        r#"{"TableDescription":{"TableName":"t","TableArn":"arn:aws:dynamodb:us-east-1:000000000000:table/t"}}"#;
    let only = "put_item::all_old_returns_the_old_item";
    let output = command(&["--endpoint", &always(table), "--only", only, "--pause-ms", "0"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains(&format!("FAIL  {only}")), "{shown}");
    assert!(shown.contains("     0      1       0  cases"), "{shown}");
}
