//! CBOR: a reader of requests, and a writer for the encoder in the form the service answers with (maps and lists of
//! indefinite length).
//!
//! Source: RFC 8949; "Wire", facts of Kinesis: moments are tag 1 with whole epoch milliseconds.

mod reader;

pub(crate) use reader::read;

use headwater_api::{Encoder, Instant};

const UNSIGNED: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const LIST_OPEN: u8 = 0x9f;
const MAP_OPEN: u8 = 0xbf;
const BREAK: u8 = 0xff;
const EPOCH_TAG: u8 = 0xc1;

/// Writes CBOR.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, argument: u64) {
        match argument {
            0..24 => self.0.push(major | argument as u8),
            24..0x100 => self.0.extend([major | 24, argument as u8]),
            0x100..0x1_0000 => {
                self.0.push(major | 25);
                self.0.extend((argument as u16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(major | 26);
                self.0.extend((argument as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend(argument.to_be_bytes());
            }
        }
    }
}

impl Encoder for Writer {
    fn begin_structure(&mut self) {
        self.0.push(MAP_OPEN);
    }

    fn field(&mut self, name: &'static str) {
        self.text(name);
    }

    fn end_structure(&mut self) {
        self.0.push(BREAK);
    }

    fn begin_list(&mut self) {
        self.0.push(LIST_OPEN);
    }

    fn end_list(&mut self) {
        self.0.push(BREAK);
    }

    fn begin_map(&mut self) {
        self.0.push(MAP_OPEN);
    }

    fn key(&mut self, key: &str) {
        self.text(key);
    }

    fn end_map(&mut self) {
        self.0.push(BREAK);
    }

    fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn integer(&mut self, value: i64) {
        // Not of a negative number is its distance from minus one, as CBOR counts.
        if value < 0 { self.head(NEGATIVE, !value as u64) } else { self.head(UNSIGNED, value as u64) }
    }

    fn double(&mut self, value: f64) {
        self.0.push(0xfb);
        self.0.extend(value.to_be_bytes());
    }

    fn boolean(&mut self, value: bool) {
        self.0.push(if value { 0xf5 } else { 0xf4 });
    }

    fn instant(&mut self, value: Instant) {
        self.0.push(EPOCH_TAG);
        self.integer(value.0);
    }

    fn null(&mut self) {
        self.0.push(0xf6);
    }

    fn corrupt(&mut self) {
        panic!("only DynamoDB's answers hold stored items, and these are never CBOR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_standard_has_them() {
        type Case = (fn(&mut Writer), &'static [u8]);
        let cases: [Case; 14] = [
            (|w| w.integer(0), &[0x00]),
            (|w| w.integer(23), &[0x17]),
            (|w| w.integer(24), &[0x18, 0x18]),
            (|w| w.integer(1_000), &[0x19, 0x03, 0xe8]),
            (|w| w.integer(1_000_000), &[0x1a, 0, 0x0f, 0x42, 0x40]),
            (|w| w.integer(1_000_000_000_000), &[0x1b, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0]),
            (|w| w.integer(-1), &[0x20]),
            (|w| w.integer(-100), &[0x38, 0x63]),
            (|w| w.double(1.1), &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
            (|w| w.text("ü"), &[0x62, 0xc3, 0xbc]),
            (|w| w.bytes(&[1, 2, 3, 4]), &[0x44, 1, 2, 3, 4]),
            (|w| w.boolean(true), &[0xf5]),
            (|w| w.null(), &[0xf6]),
            (|w| w.instant(Instant(1_363_896_240_000)), &[0xc1, 0x1b, 0, 0, 0x01, 0x3d, 0x8e, 0x8d, 0x07, 0x80]),
        ];
        for (write, expected) in cases {
            let mut writer = Writer::default();
            write(&mut writer);
            assert_eq!(writer.into_bytes(), expected);
        }
    }
}
