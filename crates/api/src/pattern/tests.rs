//! Promise: every pattern of the four models is read, and matches what Java's `matches` matches.

use super::*;

#[test]
fn every_pattern_of_the_models_is_read() {
    let mut patterns = 0;
    for model in [
        include_str!("../../models/dynamodb.json"),
        include_str!("../../models/dynamodb-streams.json"),
        include_str!("../../models/kinesis.json"),
        include_str!("../../models/firehose.json"),
    ] {
        let model: serde_json::Value = serde_json::from_str(model).unwrap();
        for (name, shape) in model["shapes"].as_object().unwrap() {
            if let Some(text) = shape["pattern"].as_str() {
                if let Err(why) = parse::parse(text) {
                    panic!("{name} {text}: {why}");
                }
                patterns += 1;
            }
        }
    }
    println!("{patterns} patterns");
    assert!(patterns > 70, "{patterns}");
}

#[test]
fn whole_texts_match() {
    let long = "a".repeat(100_000);
    for (pattern, text, expected) in [
        ("[a-zA-Z0-9_.-]+", "a-Z_0.9", true),
        ("[a-zA-Z0-9_.-]+", "", false),
        ("[a-zA-Z0-9_.-]+", "a b", false),
        ("[a-zA-Z0-9_.-]+", long.as_str(), true),
        (r"0|([1-9]\d{0,38})", "0", true),
        (r"0|([1-9]\d{0,38})", "01", false),
        (r"0|([1-9]\d{0,38})", "340282366920938463463374607431768211455", true),
        (r"0|([1-9]\d{0,38})", "3402823669209384634633746074317682114551", false),
        (r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$", "aws:x", false),
        (r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$", "xaws: \u{e9}\u{663}", true),
        (r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$", "", true),
        (r"^(?!\s*$).+", "  ", false),
        (r"^(?!\s*$).+", " x", true),
        (r"^$|[a-zA-Z/_]+", "", true),
        (r"^$|[a-zA-Z/_]+", "Europe/Berlin", true),
        (r".*", "a\nb", false),
        (r"[a-z0-9]{20}-[a-z0-9]{3}", "abcdefghij0123456789-abc", true),
        (r"[a-z0-9]{20}-[a-z0-9]{3}", "abcdefghij0123456789-abcd", false),
        (r"((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+x", "ab-c.d.x", true),
        (r"((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+x", "-ab.x", false),
        (r"((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+x", "ab-.x", false),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "a\u{1F600}\u{e9}\t", true),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "\u{1}", false),
        (r"\p{Print}+", "abc~", true),
        (r"\p{Print}+", "\u{e9}", false),
        (r"[\x20-\x21\x23-\x2B\x2D-\x7E]*", "a,b", false),
        (r"^[^\$]+$", "a$", false),
        (r"([0-9a-f]{16})+", "0123456789abcdef0123456789abcdef", true),
        (r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", "arn:aws:kinesis:us-east-1:000000000000:stream/s", true),
        (r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", "arn:aws:kinesis:us-east-1:00000000000:stream/s", false),
    ] {
        let read = Pattern::new(Box::leak(pattern.to_owned().into_boxed_str()));
        assert_eq!(read.matches(text), expected, "{pattern} on {}", text.chars().take(60).collect::<String>());
    }
}

#[test]
fn no_text_makes_matching_slow() {
    static ARN: Pattern =
        Pattern::new(r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+");
    // A backtracking matcher tries every way to split this text: some 10^9 of them.
    let text = format!("arn:aws{}", ":kinesis::000000000000:stream/a/consumer/a".repeat(2_000));
    assert!(!ARN.matches(&text));
    assert!(ARN.matches(&format!("{text}:1")));
}
