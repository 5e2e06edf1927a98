//! Sets of characters.

/// Whether a character belongs to a class of Java's.
type Property = fn(char) -> bool;

/// A set of characters: ASCII by bits, the rest by ranges and properties.
#[derive(Clone, Debug, Default)]
pub struct Set {
    ascii: u128,
    ranges: Vec<(char, char)>,
    properties: Vec<(Property, bool)>,
    negated: bool,
}

impl Set {
    /// Just one character.
    pub fn of(letter: char) -> Self {
        let mut set = Self::default();
        set.add(letter, letter);
        set
    }

    /// Adds a range, both ends included.
    pub fn add(&mut self, first: char, last: char) {
        for letter in first..=last.min('\x7f') {
            self.ascii |= 1 << (letter as u32);
        }
        if last > '\x7f' {
            self.ranges.push((first, last));
        }
    }

    /// Adds what has a property, or what lacks it.
    pub fn add_property(&mut self, property: Property, wanted: bool) {
        for letter in '\0'..='\x7f' {
            if property(letter) == wanted {
                self.ascii |= 1 << (letter as u32);
            }
        }
        self.properties.push((property, wanted));
    }

    /// Turns the set inside out.
    pub fn negate(&mut self) {
        self.negated = !self.negated;
    }

    /// Whether the character is in it.
    pub fn contains(&self, letter: char) -> bool {
        let within = if letter.is_ascii() {
            self.ascii & (1 << (letter as u32)) != 0
        } else {
            self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter))
                || self.properties.iter().any(|(property, wanted)| property(letter) == *wanted)
        };
        within != self.negated
    }
}

/// `\d`: ASCII only, as in Java.
pub fn digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

/// `\w`: ASCII only, as in Java.
pub fn word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// `\s`: ASCII only, as in Java.
pub fn space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// What `.` does not match.
pub fn line_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// `\p{L}`; the standard library knows Alphabetic, which is a little wider.
pub fn letter(letter: char) -> bool {
    letter.is_alphabetic()
}

/// `\p{Z}`.
pub fn separator(letter: char) -> bool {
    letter.is_whitespace() && !letter.is_control()
}

/// `\p{N}`.
pub fn number(letter: char) -> bool {
    letter.is_numeric()
}

/// `\p{Print}`: ASCII only, as in Java.
pub fn print(letter: char) -> bool {
    (' '..='~').contains(&letter)
}
