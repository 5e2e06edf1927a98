//! CBOR: a reader that makes documents. They borrow their texts and bytes from the body.
//!
//! Taken: definite and indefinite lengths, texts and bytes in pieces, integers of 64 bits, floats of all three widths, null and
//! undefined, moments (tag 1), any other tag for the value it stands before.
//! Refused: what ends early or late, nests too deep, holds too many values, names members by anything but text.
//!
//! Source: RFC 8949; "Wire", facts of Kinesis: a moment's integer counts milliseconds. A float keeps the meaning of the
//! standard, seconds.

use std::borrow::Cow;
use std::fmt;

use ciborium_ll::{Decoder, Header, simple};
use headwater_api::{Document, Instant};

/// How deep a body may nest; the inputs of Kinesis take four levels. Source: ours.
const DEPTH_MAX: usize = 64;
/// Values of one body: the largest input has 500 records of three members. A value of one byte takes up to 56 in memory, so
/// that a body cannot become more than 16 MiB by its values. Source: ours.
const VALUES_MAX: usize = 1 << 18;
/// The tag of moments. Source: RFC 8949, 3.4.2.
const EPOCH: u64 = 1;

/// What is no CBOR, or none that any client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed {
    at: usize,
    why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CBOR, byte {}: {}", self.at, self.why)
    }
}

/// Reads a body.
///
/// Errors: Malformed; nothing is allocated for a length that the body does not hold.
pub(crate) fn read(body: &[u8]) -> Result<Document<'_>, Malformed> {
    let mut reader = Reader { body, at: 0, values_left: VALUES_MAX };
    let document = reader.value(0)?;
    if reader.at == body.len() { Ok(document) } else { Err(reader.malformed("more after the end")) }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    values_left: usize,
}

impl<'a> Reader<'a> {
    fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { at: self.at, why }
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        let mut decoder = Decoder::from(self.body.get(self.at..).unwrap_or_default());
        let header = decoder.pull().map_err(|_| self.malformed("no value begins here"))?;
        self.at += decoder.offset();
        Ok(header)
    }

    /// The next `length` bytes of the body, which must be there.
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or_else(|| self.malformed("longer than the body"))?;
        self.at += length;
        Ok(taken)
    }

    fn value(&mut self, depth: usize) -> Result<Document<'a>, Malformed> {
        let header = self.header()?;
        self.valued(header, depth)
    }

    /// The value that a header has begun.
    fn valued(&mut self, header: Header, depth: usize) -> Result<Document<'a>, Malformed> {
        self.values_left = self.values_left.checked_sub(1).ok_or_else(|| self.malformed("too many values"))?;
        if depth > DEPTH_MAX {
            return Err(self.malformed("nested too deeply"));
        }
        Ok(match header {
            Header::Positive(number) => whole(i128::from(number)),
            Header::Negative(number) => whole(-1 - i128::from(number)),
            Header::Float(number) if number.is_finite() => Document::Decimal(Cow::Owned(format!("{number:?}"))),
            Header::Float(_) => return Err(self.malformed("a number that is none")),
            Header::Simple(simple::FALSE) => Document::Bool(false),
            Header::Simple(simple::TRUE) => Document::Bool(true),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Document::Null,
            Header::Simple(_) => return Err(self.malformed("an unknown simple value")),
            Header::Break => return Err(self.malformed("an end where nothing is open")),
            Header::Tag(EPOCH) => Document::Instant(self.moment()?),
            Header::Tag(_) => self.value(depth + 1)?,
            Header::Bytes(length) => Document::Bytes(self.bytes(length)?),
            Header::Text(length) => Document::Text(self.text(length)?),
            Header::Array(length) => Document::List(self.elements(length, depth + 1)?),
            Header::Map(length) => Document::Map(self.entries(length, depth + 1)?),
        })
    }

    fn moment(&mut self) -> Result<Instant, Malformed> {
        let milliseconds = match self.header()? {
            Header::Positive(number) => i64::try_from(number).ok(),
            Header::Negative(number) => i64::try_from(number).ok().map(|number| !number),
            Header::Float(seconds) if seconds.is_finite() => return Ok(Instant::from_seconds(seconds)),
            _ => None,
        };
        milliseconds.map(Instant).ok_or_else(|| self.malformed("no moment"))
    }

    fn bytes(&mut self, length: Option<usize>) -> Result<Cow<'a, [u8]>, Malformed> {
        if let Some(length) = length {
            return Ok(Cow::Borrowed(self.take(length)?));
        }
        let mut all = Vec::new();
        loop {
            match self.header()? {
                Header::Bytes(Some(length)) => all.extend_from_slice(self.take(length)?),
                Header::Break => return Ok(Cow::Owned(all)),
                _ => return Err(self.malformed("pieces of bytes are bytes")),
            }
        }
    }

    fn text(&mut self, length: Option<usize>) -> Result<Cow<'a, str>, Malformed> {
        if let Some(length) = length {
            return Ok(Cow::Borrowed(self.characters(length)?));
        }
        let mut all = String::new();
        loop {
            match self.header()? {
                Header::Text(Some(length)) => all.push_str(self.characters(length)?),
                Header::Break => return Ok(Cow::Owned(all)),
                _ => return Err(self.malformed("pieces of text are texts")),
            }
        }
    }

    fn characters(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("text that is not UTF-8"))
    }

    /// The header of the next value of a list or map; None at its end. Without a length the end is marked.
    fn next(&mut self, left: &mut Option<usize>) -> Result<Option<Header>, Malformed> {
        match left {
            Some(0) => return Ok(None),
            Some(count) => *count -= 1,
            None => {}
        }
        match (self.header()?, left) {
            (Header::Break, None) => Ok(None),
            (header, _) => Ok(Some(header)),
        }
    }

    fn elements(&mut self, mut left: Option<usize>, depth: usize) -> Result<Vec<Document<'a>>, Malformed> {
        // Grows with what is there, not with what is announced.
        let mut elements = Vec::new();
        while let Some(header) = self.next(&mut left)? {
            elements.push(self.valued(header, depth)?);
        }
        Ok(elements)
    }

    fn entries(
        &mut self,
        mut left: Option<usize>,
        depth: usize,
    ) -> Result<Vec<(Cow<'a, str>, Document<'a>)>, Malformed> {
        let mut entries = Vec::new();
        while let Some(header) = self.next(&mut left)? {
            let Header::Text(length) = header else { return Err(self.malformed("a name that is no text")) };
            let name = self.text(length)?;
            entries.push((name, self.value(depth)?));
        }
        Ok(entries)
    }
}

fn whole(number: i128) -> Document<'static> {
    i64::try_from(number).map_or_else(|_| Document::Decimal(Cow::Owned(number.to_string())), Document::Integer)
}

#[cfg(test)]
mod tests;
