//! The `headwater` command itself: what it says of its flags, and what it refuses before it starts.

use std::process::{Command, Output};

fn headwater(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwater")).args(arguments).output().expect("the binary runs")
}

#[test]
fn help_names_every_flag_and_its_variable() {
    let help = String::from_utf8(headwater(&["--help"]).stdout).expect("text");
    let flags = [
        "listen",
        "listen-streams",
        "listen-kinesis",
        "listen-firehose",
        "admin",
        "data-dir",
        "in-memory",
        "durability",
        "aws-limits",
        "account",
        "memory",
        "credentials",
        "tls-certificate",
        "tls-key",
        "insecure",
        "audit",
        "config",
        "control",
        "control-token",
        "shard-life",
        "split-writes-per-second",
    ];
    for flag in flags {
        let variable = format!("HEADWATER_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("--{flag}")) && help.contains(&variable), "--{flag}, {variable} in:\n{help}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason_and_no_backtrace() {
    let cases = [
        (&["--in-memory", "--listen", "0.0.0.0:0"][..], "--insecure"),
        (&["--in-memory", "--data-dir", "somewhere"], "--in-memory keeps nothing"),
        (&["--in-memory", "--shard-life", "0"], "--shard-life: between 1"),
        (&["--in-memory", "--control", "--admin", "off"], "does not go with --admin off"),
        (&["--in-memory", "--tls-certificate", "some.pem"], "--tls-certificate needs --tls-key"),
        (&["--in-memory", "--tls-key", "some.pem"], "--tls-key needs --tls-certificate"),
        (&["--config", "no-such-file.toml"], "no-such-file.toml"),
    ];
    for (arguments, reason) in cases {
        let output = headwater(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(complaint.contains(reason), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
}
