//! The program and its limit of file descriptors: raised to the hard one, shown, and never used up by clients.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "a test over real sockets waits in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

mod lab;

/// The program under limits of its own; it ends with this.
struct Limited {
    child: Child,
    api: String,
    admin: String,
}

impl Limited {
    fn start(limits: &str, store: &[&str]) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_headwater")])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(store)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (mut api, mut admin) = (String::new(), String::new());
        let output = BufReader::new(child.stdout.take().expect("its output"));
        for line in output.lines().map_while(Result::ok) {
            let mut words = line.split_whitespace();
            match (words.next(), words.next().and_then(|word| word.strip_prefix("http://"))) {
                (Some("dynamodb"), Some(address)) => api = address.to_owned(),
                (Some("admin"), Some(address)) => admin = address.trim_end_matches("/metrics").to_owned(),
                (Some("try:"), _) => break,
                _ => {}
            }
        }
        assert!(!api.is_empty() && !admin.is_empty(), "it does not get ready");
        Self { child, api, admin }
    }

    /// One number of the metrics page.
    fn metric(&self, name: &str) -> u64 {
        let mut connection = TcpStream::connect(&self.admin).expect("it listens");
        connection
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("it is sent");
        let mut page = String::new();
        connection.read_to_string(&mut page).expect("a page");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
        value.trim().parse().expect("a number")
    }

    fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(&self.api).expect("the system takes it");
        // Ends a broken run only.
        connection.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        connection
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a call and reads its whole answer.
fn call(connection: &mut TcpStream, operation: &str, body: &serde_json::Value) -> String {
    let request = lab::signed(&format!("DynamoDB_20120810.{operation}"), "eu-west-1", body);
    let mut head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n", body.to_string().len());
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
    }
    connection.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it is sent");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if rest.len() >= length.parse::<usize>().expect("a number") {
                return text;
            }
        }
        let mut chunk = [0; 4_096];
        let read = connection.read(&mut chunk).expect("an answer in time");
        assert!(read > 0, "the connection ends before an answer");
        answer.extend_from_slice(&chunk[..read]);
    }
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let server = Limited::start("ulimit -S -n 64 && ulimit -H -n 900", &["--in-memory"]);
    assert_eq!((server.metric("process_max_fds"), server.metric("headwater_descriptor_limit_raised")), (900, 1));
    let mut connections: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for connection in &mut connections {
        assert!(call(connection, "ListTables", &json!({})).starts_with("http/1.1 200"));
    }
    let open = server.metric("process_open_fds");
    println!("connections {}, descriptors {open} of 900, 64 before it was raised", connections.len());
    assert!(open > 300, "{open}");
}

#[test]
fn clients_do_not_take_the_descriptors_that_the_store_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let server = Limited::start("ulimit -n 200", &["--data-dir", &data]);
    assert_eq!(server.metric("process_max_fds"), 200);
    let mut connections: Vec<TcpStream> = (0..150).map(|_| server.connect()).collect();
    let (served, waiting) = connections.split_at_mut(100);
    for connection in served.iter_mut() {
        assert!(call(connection, "ListTables", &json!({})).starts_with("http/1.1 200"));
    }
    assert_eq!(server.metric("headwater_connections_open"), 100);
    // The store still opens files; and whoever waits is served as soon as another goes.
    let made = call(&mut served[0], "CreateTable", &lab::definition("kept"));
    assert!(made.starts_with("http/1.1 200"), "{made}");
    let open = server.metric("process_open_fds");
    println!("descriptors {open} of 200, {} connections wait", waiting.len());
    assert!((100..200).contains(&open), "{open}");
    let mut waiting = connections.split_off(100);
    drop(connections);
    for connection in &mut waiting {
        assert!(call(connection, "ListTables", &json!({})).starts_with("http/1.1 200"));
    }
}
