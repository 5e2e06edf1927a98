//! Every form of every value; then seeded documents, whole and damaged, against another reader.

use std::borrow::Cow;

use ciborium::Value;
use headwater_api::{Document, Instant};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{DEPTH_MAX, VALUES_MAX, read};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn text(value: &str) -> Document<'_> {
    Document::Text(value.into())
}

#[test]
fn every_form_is_read() {
    let list = |list: &[i64]| Document::List(list.iter().map(|one| Document::Integer(*one)).collect());
    let map = |name: &'static str, value: i64| Document::Map(vec![(name.into(), Document::Integer(value))]);
    let blob = |bytes: &'static [u8]| Document::Bytes(bytes.into());
    let cases = [
        ("00", Document::Integer(0)),
        ("18 18", Document::Integer(24)),
        ("1b 7fffffffffffffff", Document::Integer(i64::MAX)),
        ("1b ffffffffffffffff", Document::Decimal("18446744073709551615".into())),
        ("20", Document::Integer(-1)),
        ("3b 7fffffffffffffff", Document::Integer(i64::MIN)),
        ("3b ffffffffffffffff", Document::Decimal("-18446744073709551616".into())),
        ("f9 3e00", Document::Decimal("1.5".into())),
        ("fa 47c35000", Document::Decimal("100000.0".into())),
        ("fb 3ff199999999999a", Document::Decimal("1.1".into())),
        ("f4", Document::Bool(false)),
        ("f5", Document::Bool(true)),
        ("f6", Document::Null),
        ("f7", Document::Null),
        ("40", blob(b"")),
        ("44 01020304", blob(&[1, 2, 3, 4])),
        ("58 04 01020304", blob(&[1, 2, 3, 4])),
        ("5f 42 0102 40 42 0304 ff", blob(&[1, 2, 3, 4])),
        ("62 c3bc", text("ü")),
        ("7f 61 61 62 c3bc ff", text("aü")),
        ("80", list(&[])),
        ("82 01 02", list(&[1, 2])),
        ("9f 01 02 ff", list(&[1, 2])),
        ("a1 61 61 01", map("a", 1)),
        ("bf 61 61 01 ff", map("a", 1)),
        ("bf 7f 61 61 ff 01 ff", map("a", 1)),
        ("c1 1b 0000013d8e8d0780", Document::Instant(Instant(1_363_896_240_000))),
        ("c1 38 63", Document::Instant(Instant(-100))),
        ("c1 fb 41d452d9ec200000", Document::Instant(Instant(1_363_896_240_500))),
        ("d9 d9f7 01", Document::Integer(1)),
    ];
    for (hex, expected) in &cases {
        let body = bytes(hex);
        assert_eq!(read(&body).as_ref(), Ok(expected), "{hex}");
    }
    println!("forms of CBOR: {}", cases.len());
    let body = bytes("44 01020304");
    assert!(matches!(read(&body), Ok(Document::Bytes(Cow::Borrowed(_)))), "bytes are not copied");
}

#[test]
fn what_is_broken_is_refused_and_takes_no_room() {
    let refused = [
        "",
        "18",
        "1b 000000",
        "44 0102",
        "62 c3",
        "61 ff",
        "5f 42 0102",
        "5f 61 61 ff",
        "7f 41 61 ff",
        "7f 61 c3 61 bc ff",
        "ff",
        "82 01",
        "82 01 ff",
        "9f 01",
        "a1 61 61",
        "a1 01 01",
        "bf 61 61 ff",
        "bf 61 61 01",
        "f8 20",
        "f0",
        "1c",
        "c1",
        "c1 61 61",
        "c1 1b ffffffffffffffff",
        "c1 f9 7e00",
        "f9 7c00",
        "f9 7e00",
        "01 01",
        // Lengths that nothing holds.
        "5b ffffffffffffffff",
        "5b 0fffffffffffffff 00",
        "7b 7fffffffffffffff",
        "9b ffffffffffffffff",
        "9b 0fffffffffffffff 01",
        "bb 0fffffffffffffff 61 61 01",
        "9a ffffffff 01 02",
    ];
    for hex in refused {
        let body = bytes(hex);
        assert!(read(&body).is_err(), "{hex}: {:?}", read(&body));
    }
    let nested = |deep: usize| [vec![0x81; deep], vec![0x00]].concat();
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    assert!(read(&nested(DEPTH_MAX + 1)).is_err());
    assert!(read(&vec![0xc2; 4 << 20]).is_err(), "tags nest too");
    assert!(read(&vec![0x9f; 4 << 20]).is_err());
    let many = |count: usize| [vec![0x9f], vec![0x01; count], vec![0xff]].concat();
    assert!(read(&many(VALUES_MAX - 1)).is_ok());
    assert!(read(&many(VALUES_MAX)).is_err());
    println!("broken forms of CBOR: {}", refused.len());
}

/// Draws documents and writes them in one of the forms they have.
struct Author {
    dice: ChaCha8Rng,
    out: Vec<u8>,
}

impl Author {
    fn below(&mut self, bound: u32) -> u32 {
        self.dice.next_u32() % bound
    }

    /// A head in the shortest form, or a longer one.
    fn head(&mut self, major: u8, argument: u64) {
        let least = match argument {
            0..24 => 0,
            24..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x1_0000_0000 => 3,
            _ => 4,
        };
        let form = if self.below(4) == 0 { least + self.below(5 - least) } else { least };
        let bytes = argument.to_be_bytes();
        match form {
            0 => self.out.push(major << 5 | argument as u8),
            1..=4 => {
                self.out.push(major << 5 | (23 + form as u8));
                self.out.extend_from_slice(&bytes[8 - (1 << (form - 1))..]);
            }
            _ => unreachable!("there are five forms"),
        }
    }

    fn string(&mut self, major: u8, pieces: &[&[u8]]) {
        if let [whole] = pieces {
            self.head(major, whole.len() as u64);
            return self.out.extend_from_slice(whole);
        }
        self.out.push(major << 5 | 31);
        for piece in pieces {
            self.head(major, piece.len() as u64);
            self.out.extend_from_slice(piece);
        }
        self.out.push(0xff);
    }

    fn name(&mut self) -> String {
        let names = ["StreamName", "Data", "é", "", "PartitionKey"];
        let name = names[self.below(5) as usize];
        match self.below(3) {
            0 => self.string(3, &[name.as_bytes(), b"", b"x"]),
            _ => {
                self.string(3, &[name.as_bytes()]);
                return name.to_owned();
            }
        }
        format!("{name}x")
    }

    fn value(&mut self, depth: u32) -> Document<'static> {
        let kinds = if depth > 5 { 8 } else { 11 };
        match self.below(kinds) {
            0 => {
                let bits = self.below(64);
                let number = self.dice.next_u64() >> bits >> 1;
                let is_negative = self.below(2) == 0;
                self.head(u8::from(is_negative), number);
                Document::Integer(if is_negative { !(number as i64) } else { number as i64 })
            }
            1 => {
                let number = f64::from(self.below(1 << 20)) / 8.0;
                self.out.push(0xfb);
                self.out.extend(number.to_be_bytes());
                Document::Decimal(format!("{number:?}").into())
            }
            2 => {
                let is_true = self.below(2) == 0;
                self.out.push(if is_true { 0xf5 } else { 0xf4 });
                Document::Bool(is_true)
            }
            3 => {
                self.out.push(0xf6);
                Document::Null
            }
            4 => {
                let milliseconds = self.dice.next_u64() >> 20;
                self.out.push(0xc1);
                self.head(0, milliseconds);
                Document::Instant(Instant(milliseconds as i64))
            }
            5 | 6 => Document::Text(self.name().into()),
            7 => {
                let mut data = vec![0; self.below(40) as usize];
                self.dice.fill_bytes(&mut data);
                let cut = data.len() / 2;
                match self.below(3) {
                    0 => self.string(2, &[&data[..cut], &data[cut..]]),
                    _ => self.string(2, &[&data]),
                }
                Document::Bytes(data.into())
            }
            8 | 9 => {
                let count = self.below(6);
                let is_open = self.open(5, count);
                let entries = (0..count).map(|_| (self.name().into(), self.value(depth + 1))).collect();
                self.close(is_open);
                Document::Map(entries)
            }
            _ => {
                let count = self.below(6);
                let is_open = self.open(4, count);
                let elements = (0..count).map(|_| self.value(depth + 1)).collect();
                self.close(is_open);
                Document::List(elements)
            }
        }
    }

    fn open(&mut self, major: u8, count: u32) -> bool {
        let is_open = self.below(2) == 0;
        if is_open {
            self.out.push(major << 5 | 31)
        } else {
            self.head(major, u64::from(count))
        }
        is_open
    }

    fn close(&mut self, is_open: bool) {
        if is_open {
            self.out.push(0xff);
        }
    }

    fn damage(&mut self) {
        let at = self.below(self.out.len() as u32 + 1) as usize;
        match self.below(5) {
            0 => self.out.truncate(at),
            1 => {
                let bit = self.below(8);
                if let Some(byte) = self.out.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            2 => self.out.insert(at, 0xff),
            3 => {
                let heads = [0x1b_u8, 0x3b, 0x5b, 0x7b, 0x9b, 0xbb, 0xdb, 0xfb, 0x5f, 0x7f, 0x9f, 0xbf];
                let head = heads[self.below(12) as usize];
                self.out.insert(at, head);
            }
            _ => {
                let byte = self.dice.next_u32() as u8;
                if let Some(old) = self.out.get_mut(at) {
                    *old = byte;
                }
            }
        }
    }
}

/// Whether the other reader has read the same. Its floats and tags are as they stand; ours have become texts and moments.
fn is_same(ours: &Document<'_>, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Document::Integer(number), Value::Integer(other)) => i128::from(*number) == i128::from(*other),
        (Document::Decimal(number), Value::Integer(other)) => *number == i128::from(*other).to_string(),
        (Document::Decimal(number), Value::Float(other)) => number.parse() == Ok(*other),
        (Document::Bool(value), Value::Bool(other)) => value == other,
        (Document::Null, Value::Null) => true,
        (Document::Text(text), Value::Text(other)) => text == other,
        (Document::Bytes(bytes), Value::Bytes(other)) => **bytes == **other,
        (Document::Instant(at), Value::Tag(1, other)) => match &**other {
            Value::Integer(other) => i128::from(at.0) == i128::from(*other),
            Value::Float(other) => *at == Instant::from_seconds(*other),
            _ => false,
        },
        (ours, Value::Tag(_, other)) => is_same(ours, other),
        (Document::List(list), Value::Array(other)) => {
            list.len() == other.len() && list.iter().zip(other).all(|(ours, theirs)| is_same(ours, theirs))
        }
        (Document::Map(map), Value::Map(other)) => {
            map.len() == other.len()
                && map
                    .iter()
                    .zip(other)
                    .all(|((name, ours), (other, theirs))| other.as_text() == Some(&**name) && is_same(ours, theirs))
        }
        // Bignums are integers to the other reader, and bytes behind a tag to ours: no client sends them.
        (Document::Bytes(_), Value::Integer(_)) => true,
        _ => false,
    }
}

#[test]
fn seeded_documents_are_read_as_written_and_damaged_ones_as_another_reader_does() {
    let (mut whole, mut taken, mut refused) = (0, 0, 0);
    for seed in 0..20_000 {
        let mut author = Author { dice: ChaCha8Rng::seed_from_u64(seed), out: Vec::new() };
        let expected = author.value(0);
        assert_eq!(read(&author.out).as_ref(), Ok(&expected), "seed {seed}");
        whole += 1;
        for _ in 0..4 {
            author.damage();
            let theirs: Result<Value, _> = ciborium::from_reader(&author.out[..]);
            match (read(&author.out), theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert!(is_same(&ours, &theirs), "seed {seed}: {ours:?} {theirs:?}");
                    taken += 1;
                }
                (Err(_), _) => refused += 1,
                (Ok(ours), Err(error)) => panic!("seed {seed}: {ours:?} is refused elsewhere: {error}"),
            }
        }
    }
    println!("CBOR read as written: {whole}; damaged: {taken} read as elsewhere, {refused} refused");
    assert!(taken > 1_000 && refused > 1_000);
}
