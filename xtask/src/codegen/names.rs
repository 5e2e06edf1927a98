//! Names of the API as Rust names.

/// Rust's words that a field may not bear.
const KEYWORDS: [&str; 20] = [
    "as", "box", "const", "continue", "crate", "do", "else", "enum", "fn", "for", "if", "in", "impl", "let", "match",
    "move", "ref", "self", "type", "use",
];

/// `PutItem` → `put_item`, `SSEDescription` → `sse_description`, `type` → `type_`.
pub fn snake(name: &str) -> String {
    let spelled = name.replace("KiB", "Kib").replace("MBs", "Mbs").replace("ARNs", "Arns");
    let letters: Vec<char> = spelled.chars().collect();
    let mut out = String::new();
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| letters.get(at)).copied();
        let after = letters.get(index + 1).copied();
        let word_starts = letter.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase() || b.is_ascii_digit() || (b.is_uppercase() && after.is_some_and(char::is_lowercase))
            });
        if word_starts {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    if KEYWORDS.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// `NEW_AND_OLD_IMAGES` → `NewAndOldImages`, `AES256` → `Aes256`, `JQ-1.6` → `Jq16`.
pub fn variant(value: &str) -> String {
    let mut out = String::new();
    for word in value.split(|c: char| !c.is_ascii_alphanumeric()) {
        let shouted = !word.chars().any(|c| c.is_ascii_lowercase());
        for (index, letter) in word.chars().enumerate() {
            match (index, shouted) {
                (0, _) => out.push(letter.to_ascii_uppercase()),
                (_, true) => out.push(letter.to_ascii_lowercase()),
                (_, false) => out.push(letter),
            }
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) { format!("V{out}") } else { out }
}

/// `SubscribeToShardEventStream` → `SUBSCRIBE_TO_SHARD_EVENT_STREAM`.
pub fn shout(name: &str) -> String {
    snake(name).trim_end_matches('_').to_uppercase()
}

/// `ResourceNotFoundException` → `resource_not_found`.
pub fn error_function(code: &str) -> String {
    snake(code.strip_suffix("Exception").unwrap_or(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_names_become_rust_names() {
        for (name, expected) in [
            ("PutItem", "put_item"),
            ("SSEDescription", "sse_description"),
            ("KMSMasterKeyId", "kms_master_key_id"),
            ("StreamARN", "stream_arn"),
            ("eventID", "event_id"),
            ("S3BucketOwner", "s3_bucket_owner"),
            ("MaxRecordSizeInKiB", "max_record_size_in_kib"),
            ("SizeInMBs", "size_in_mbs"),
            ("Type", "type_"),
            ("NS", "ns"),
        ] {
            assert_eq!(snake(name), expected);
        }
        for (value, expected) in [
            ("NEW_AND_OLD_IMAGES", "NewAndOldImages"),
            ("AES256", "Aes256"),
            ("JQ-1.6", "Jq16"),
            ("Enabled", "Enabled"),
        ] {
            assert_eq!(variant(value), expected);
        }
        assert_eq!(error_function("ResourceNotFoundException"), "resource_not_found");
        assert_eq!(error_function("KMSOptInRequired"), "kms_opt_in_required");
    }
}
