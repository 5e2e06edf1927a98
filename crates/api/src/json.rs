//! awsJson: a writer for the encoder.

use std::io::Write;

use base64_simd::STANDARD;

use crate::encode::{Encode, Encoder, attribute_in_parts};
use crate::error::Error;
use crate::instant::Instant;

/// Writes JSON as the service does: absent members left out, bytes in base64, moments as epoch seconds.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// A value stands before the place of writing, so the next one needs a comma.
    follows: bool,
    is_corrupt: bool,
}

/// Encodes one value.
pub fn encode(value: &dyn Encode) -> Vec<u8> {
    let mut writer = Writer::with_capacity(256);
    value.encode(&mut writer);
    writer.into_bytes()
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// What was written. Errors: panics when something of it was damaged, as only a stored item can be.
    pub fn into_bytes(self) -> Vec<u8> {
        self.finish().expect("nothing of it was stored")
    }

    /// What was written. Errors: an internal one when something of it was damaged.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        if self.is_corrupt { Err(Error::internal("a stored item is damaged")) } else { Ok(self.out) }
    }

    fn separate(&mut self) {
        if self.follows {
            self.out.push(b',');
        }
        self.follows = true;
    }

    fn begin(&mut self, bracket: u8) {
        self.separate();
        self.out.push(bracket);
        self.follows = false;
    }

    fn end(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.follows = true;
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.escaped(name);
        self.out.push(b':');
        self.follows = false;
    }

    fn escaped(&mut self, text: &str) {
        // Most texts have nothing to escape, which a look at all bytes at once tells fastest.
        if !text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\')) {
            return self.quoted(text.as_bytes());
        }
        serde_json::to_writer(&mut self.out, text).expect("writing text to memory does not fail");
    }

    fn stored(&mut self, text: &[u8]) {
        if is_plain(text) {
            return self.quoted(text);
        }
        match std::str::from_utf8(text) {
            Ok(text) => self.escaped(text),
            Err(_) => self.corrupt(),
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    fn formatted(&mut self, value: std::fmt::Arguments<'_>) {
        self.separate();
        self.out.write_fmt(value).expect("writing to memory does not fail");
    }
}

/// Whether a stored text is ASCII without anything to escape, as most are: one look proves both.
fn is_plain(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| (0x20..0x80).contains(byte) & (*byte != b'"') & (*byte != b'\\');
    text.iter().fold(true, |plain, byte| plain & is_plain(byte))
}

impl Encoder for Writer {
    fn expect(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    fn begin_structure(&mut self) {
        self.begin(b'{');
    }

    fn field(&mut self, name: &'static str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.follows = false;
    }

    fn end_structure(&mut self) {
        self.end(b'}');
    }

    fn begin_list(&mut self) {
        self.begin(b'[');
    }

    fn end_list(&mut self) {
        self.end(b']');
    }

    fn begin_map(&mut self) {
        self.begin(b'{');
    }

    fn key(&mut self, key: &str) {
        self.name(key);
    }

    fn end_map(&mut self) {
        self.end(b'}');
    }

    fn text(&mut self, value: &str) {
        self.separate();
        self.escaped(value);
    }

    fn stored_text(&mut self, value: &[u8]) {
        self.separate();
        self.stored(value);
    }

    fn stored_key(&mut self, key: &[u8]) {
        self.separate();
        self.stored(key);
        self.out.push(b':');
        self.follows = false;
    }

    fn stored_attribute(&mut self, name: &[u8], kind: &'static str, value: &[u8]) {
        if !is_plain(name) || !is_plain(value) {
            return attribute_in_parts(self, name, kind, value);
        }
        self.separate();
        self.out.reserve(name.len() + kind.len() + value.len() + 10);
        self.out.push(b'"');
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b"\":{\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.extend_from_slice(b"\":\"");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\"}");
    }

    fn bytes(&mut self, value: &[u8]) {
        self.separate();
        self.out.push(b'"');
        STANDARD.encode_append(value, &mut self.out);
        self.out.push(b'"');
    }

    fn integer(&mut self, value: i64) {
        self.formatted(format_args!("{value}"));
    }

    /// Always with a decimal point, as the service writes capacity units: `0.5`, `1.0`.
    fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.formatted(format_args!("{value:?}"));
        } else {
            self.null();
        }
    }

    fn boolean(&mut self, value: bool) {
        self.formatted(format_args!("{value}"));
    }

    /// Epoch seconds, with the milliseconds that are not zero: `1441215410.867`, `1479499740`.
    fn instant(&mut self, value: Instant) {
        let sign = if value.0 < 0 { "-" } else { "" };
        let (seconds, rest) = (value.0.unsigned_abs() / 1000, value.0.unsigned_abs() % 1000);
        match rest {
            0 => self.formatted(format_args!("{sign}{seconds}")),
            _ if rest % 100 == 0 => self.formatted(format_args!("{sign}{seconds}.{}", rest / 100)),
            _ if rest % 10 == 0 => self.formatted(format_args!("{sign}{seconds}.{:02}", rest / 10)),
            _ => self.formatted(format_args!("{sign}{seconds}.{rest:03}")),
        }
    }

    fn null(&mut self) {
        self.formatted(format_args!("null"));
    }

    fn corrupt(&mut self) {
        self.is_corrupt = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Writer)) -> String {
        let mut writer = Writer::default();
        write(&mut writer);
        String::from_utf8(writer.into_bytes()).unwrap()
    }

    #[test]
    fn scalars_are_spelled_as_the_service_spells_them() {
        for (at, expected) in [
            (1_441_215_410_867, "1441215410.867"),
            (1_479_499_740_000, "1479499740"),
            (1_479_499_740_500, "1479499740.5"),
            (1_479_499_740_050, "1479499740.05"),
            (1_479_499_740_005, "1479499740.005"),
            (-1_500, "-1.5"),
            (0, "0"),
        ] {
            assert_eq!(written(|w| w.instant(Instant(at))), expected);
        }
        for (value, expected) in [(0.5, "0.5"), (1.0, "1.0"), (12.25, "12.25"), (f64::NAN, "null")] {
            assert_eq!(written(|w| w.double(value)), expected);
        }
        for (value, expected) in [(&b""[..], "\"\""), (b"a", "\"YQ==\""), (b"ab", "\"YWI=\""), (b"abc", "\"YWJj\"")] {
            assert_eq!(written(|w| w.bytes(value)), expected);
        }
        assert_eq!(written(|w| w.text("a\"\n\u{1F600}")), "\"a\\\"\\n\u{1F600}\"");
    }

    #[test]
    fn texts_are_escaped_as_serde_json_does() {
        let mut escaped = 0;
        for code in 0..0x180 {
            let text = format!("plain {} plain", char::from_u32(code).unwrap_or('-'));
            let expected = serde_json::to_string(&text).unwrap();
            escaped += usize::from(expected.len() > text.len() + 2);
            assert_eq!(written(|w| w.text(&text)), expected);
        }
        assert_eq!(escaped, 0x20 + 2);
    }

    #[test]
    fn commas_stand_between_values_only() {
        let text = written(|w| {
            w.begin_structure();
            w.field("A");
            w.begin_list();
            w.integer(1);
            w.begin_list();
            w.end_list();
            w.boolean(true);
            w.end_list();
            w.field("B");
            w.begin_map();
            w.key("k\"");
            w.null();
            w.key("l");
            w.begin_structure();
            w.end_structure();
            w.end_map();
            w.end_structure();
        });
        assert_eq!(text, r#"{"A":[1,[],true],"B":{"k\"":null,"l":{}}}"#);
    }
}
