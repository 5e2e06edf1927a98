//! As much of protobuf as the format needs: a cursor over fields, and the three ways to write one.
//!
//! Written by hand because a general decoder copies each string and each user record into memory of its own before one
//! can look at it; this one borrows, so that a hostile aggregate costs no more than its tables.

/// Groups within groups that are skipped at most.
///
/// Unit:   levels.
/// Source: protobuf's Java runtime, `CodedInputStream` recursion limit.
const DEPTH_MAX: usize = 100;

const VARINT_BYTES_MAX: usize = 10;

/// The bytes are not a protobuf message.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The value of one field.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Text, bytes, or a message within.
    Bytes(&'a [u8]),
    /// What the format never holds: numbers of fixed length, groups.
    Skipped,
}

/// Reads a message field by field.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; none at the end of the message.
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (field, kind) = self.tag()?;
        let value = match kind {
            0 => Value::Varint(self.varint()?),
            2 => Value::Bytes(self.counted()?),
            _ => {
                self.skip(field, kind)?;
                Value::Skipped
            }
        };
        Ok(Some((field, value)))
    }

    fn tag(&mut self) -> Result<(u32, u32), Malformed> {
        // A tag has 32 bits: more are cut off, as the Java runtime does.
        let tag = u32::try_from(self.varint()? & u64::from(u32::MAX)).expect("32 bits are left");
        if tag >> 3 == 0 { Err(Malformed) } else { Ok((tag >> 3, tag & 7)) }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for place in 0..VARINT_BYTES_MAX {
            let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(first & 0x7F) << (7 * place);
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Goes past a field of a kind that the format does not have; a group ends with its own number.
    fn skip(&mut self, field: u32, kind: u32) -> Result<(), Malformed> {
        let mut open = Vec::new();
        let (mut field, mut kind) = (field, kind);
        loop {
            match kind {
                0 => drop(self.varint()?),
                1 => drop(self.bytes(8)?),
                2 => drop(self.counted()?),
                3 if open.len() < DEPTH_MAX => open.push(field),
                4 if open.last() == Some(&field) => drop(open.pop()),
                5 => drop(self.bytes(4)?),
                _ => return Err(Malformed),
            }
            if open.is_empty() {
                return Ok(());
            }
            (field, kind) = self.tag()?;
        }
    }
}

/// Appends a number's field.
pub fn put_number(into: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(into, u64::from(field) << 3);
    put_varint(into, value);
}

/// Appends a field of bytes, text or a message.
pub fn put_bytes(into: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(into, u64::from(field) << 3 | 2);
    put_varint(into, value.len() as u64);
    into.extend_from_slice(value);
}

/// What `put_number` appends to a field below 16.
pub fn number_bytes(value: u64) -> usize {
    1 + varint_bytes(value)
}

/// What `put_bytes` appends to a field below 16.
pub fn bytes_bytes(length: usize) -> usize {
    1 + varint_bytes(length as u64) + length
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        into.push(u8::try_from(value & 0x7F).expect("seven bits") | 0x80);
        value >>= 7;
    }
    into.push(u8::try_from(value).expect("seven bits"));
}

fn varint_bytes(value: u64) -> usize {
    // Seven bits to a byte; zero takes one too.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_counted_and_come_back() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut written = Vec::new();
                put_number(&mut written, 1, value);
                assert_eq!(written.len(), number_bytes(value), "{value}");
                let mut fields = Fields::of(&written);
                assert_eq!(fields.next(), Ok(Some((1, Value::Varint(value)))));
                assert_eq!(fields.next(), Ok(None));
            }
        }
    }

    #[test]
    fn what_the_format_does_not_have_is_skipped_with_all_that_is_in_it() {
        // Field 9: a group with a nested group 8, a fixed64, a fixed32 and bytes; then field 1 = 5.
        let message = [0x4B, 0x43, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x44, 0x15, 1, 2, 3, 4, 0x12, 1, 9, 0x4C, 0x08, 5];
        let mut fields = Fields::of(&message);
        assert_eq!(fields.next(), Ok(Some((9, Value::Skipped))));
        assert_eq!(fields.next(), Ok(Some((1, Value::Varint(5)))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn broken_messages_are_malformed() {
        let deep = [0x4B_u8; 200];
        let broken: [&[u8]; 9] = [
            &[0x08],                                                      // a tag without its number
            &[0x0A, 2, 1],                                                // bytes beyond the end
            &[0x00, 1],                                                   // field 0
            &[0x0F, 1],                                                   // a kind that does not exist
            &[0x0C],                                                      // a group's end without its begin
            &[0x4B, 0x44],                                                // ended by another group's number
            &[0x08, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1], // a number of eleven bytes
            &[0x0A, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],      // a length beyond memory
            &deep,                                                        // groups without end
        ];
        for message in broken {
            assert_eq!(Fields::of(message).next(), Err(Malformed), "{message:?}");
        }
    }
}
