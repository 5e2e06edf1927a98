//! Reads a pattern.

use std::iter::Peekable;
use std::str::Chars;

use super::set::{self, Set};

/// A read pattern.
pub enum Node {
    Set(Set),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat { node: Box<Node>, min: usize, max: Option<usize> },
    Start,
    End,
    Ahead { node: Box<Node>, wanted: bool },
    Behind { set: Set, wanted: bool },
}

/// Reads a whole pattern; the error says what no model has used so far.
pub fn parse(text: &str) -> Result<Node, String> {
    let mut reader = Reader { rest: text.chars().peekable() };
    let node = reader.choice()?;
    match reader.rest.next() {
        None => Ok(node),
        Some(letter) => Err(format!("{letter} is not expected in {text}")),
    }
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
}

impl Reader<'_> {
    fn eat(&mut self, letter: char) -> bool {
        self.rest.next_if_eq(&letter).is_some()
    }

    fn next(&mut self) -> Result<char, String> {
        self.rest.next().ok_or_else(|| "the pattern ends too early".to_owned())
    }

    fn choice(&mut self) -> Result<Node, String> {
        let mut ways = vec![self.sequence()?];
        while self.eat('|') {
            ways.push(self.sequence()?);
        }
        Ok(if ways.len() == 1 { ways.remove(0) } else { Node::Choice(ways) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(letter) = self.rest.peek() {
            if matches!(letter, '|' | ')') {
                break;
            }
            let node = self.atom()?;
            nodes.push(self.repeated(node)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Sequence(nodes) })
    }

    fn repeated(&mut self, node: Node) -> Result<Node, String> {
        let (min, max) = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.next()?;
                let min = self.number()?;
                let max = match self.next()? {
                    '}' => return Ok(Node::Repeat { node: Box::new(node), min, max: Some(min) }),
                    ',' if self.rest.peek() == Some(&'}') => None,
                    ',' => Some(self.number()?),
                    other => return Err(format!("{other} in a repetition")),
                };
                (min, max)
            }
            _ => return Ok(node),
        };
        self.next()?;
        // A lazy repetition takes less at first, but whole texts match all the same.
        self.eat('?');
        Ok(Node::Repeat { node: Box::new(node), min, max })
    }

    fn number(&mut self) -> Result<usize, String> {
        let mut number = 0;
        while let Some(digit) = self.rest.peek().and_then(|letter| letter.to_digit(10)) {
            number = number * 10 + digit as usize;
            self.next()?;
        }
        Ok(number)
    }

    fn atom(&mut self) -> Result<Node, String> {
        Ok(match self.next()? {
            '^' => Node::Start,
            '$' => Node::End,
            '.' => {
                let mut set = Set::default();
                set.add_property(set::line_end, false);
                Node::Set(set)
            }
            '(' => return self.group(),
            '[' => Node::Set(self.class()?),
            '\\' => {
                let mut set = Set::default();
                if let Some(letter) = self.escape(&mut set)? {
                    set.add(letter, letter);
                }
                Node::Set(set)
            }
            letter => Node::Set(Set::of(letter)),
        })
    }

    fn group(&mut self) -> Result<Node, String> {
        let mut behind = false;
        let mut look = None;
        if self.eat('?') {
            let mut mark = self.next()?;
            if mark == '<' {
                behind = true;
                mark = self.next()?;
            }
            look = match mark {
                ':' if !behind => None,
                '=' => Some(true),
                '!' => Some(false),
                other => return Err(format!("group (?{other}")),
            };
        }
        let node = self.choice()?;
        if !self.eat(')') {
            return Err("a group is not closed".to_owned());
        }
        match (look, behind, node) {
            (None, _, node) => Ok(node),
            (Some(wanted), false, node) => Ok(Node::Ahead { node: Box::new(node), wanted }),
            (Some(wanted), true, Node::Set(set)) => Ok(Node::Behind { set, wanted }),
            (Some(_), true, _) => Err("a look behind at more than one character".to_owned()),
        }
    }

    fn class(&mut self) -> Result<Set, String> {
        let mut set = Set::default();
        let negated = self.eat('^');
        loop {
            let first = match self.next()? {
                ']' => break,
                '\\' => match self.escape(&mut set)? {
                    Some(letter) => letter,
                    None => continue,
                },
                letter => letter,
            };
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|letter| letter != ']') {
                self.next()?;
                let last = match self.next()? {
                    '\\' => self.escape(&mut set)?.ok_or("a range ends in a class")?,
                    letter => letter,
                };
                set.add(first, last);
            } else {
                set.add(first, first);
            }
        }
        if negated {
            set.negate();
        }
        Ok(set)
    }

    /// Reads what follows a backslash: one character, or a property added to the set.
    fn escape(&mut self, set: &mut Set) -> Result<Option<char>, String> {
        match self.next()? {
            'd' => set.add_property(set::digit, true),
            'w' => set.add_property(set::word, true),
            's' => set.add_property(set::space, true),
            'S' => set.add_property(set::space, false),
            'p' => {
                let mut name = String::new();
                while !matches!(name.chars().next_back(), Some('}')) {
                    name.push(self.next()?);
                }
                match name.as_str() {
                    "{L}" => set.add_property(set::letter, true),
                    "{N}" => set.add_property(set::number, true),
                    "{Z}" => set.add_property(set::separator, true),
                    "{Print}" => set.add_property(set::print, true),
                    other => return Err(format!("property {other}")),
                }
            }
            'n' => return Ok(Some('\n')),
            'r' => return Ok(Some('\r')),
            't' => return Ok(Some('\t')),
            'x' => return self.hexadecimal(2).map(Some),
            'u' => return self.hexadecimal(4).map(Some),
            letter if letter.is_ascii_alphanumeric() => return Err(format!("escape \\{letter}")),
            letter => return Ok(Some(letter)),
        }
        Ok(None)
    }

    /// `\uXXXX` and `\xXX`; a high surrogate takes its low one along.
    fn hexadecimal(&mut self, digits: usize) -> Result<char, String> {
        let high = self.code_unit(digits)?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or_else(|| format!("code unit {high:x}"));
        }
        if !(self.eat('\\') && self.eat('u')) {
            return Err("half a surrogate pair".to_owned());
        }
        let low = self.code_unit(4)?;
        let point = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00);
        char::from_u32(point).ok_or_else(|| format!("code point {point:x}"))
    }

    fn code_unit(&mut self, digits: usize) -> Result<u32, String> {
        let mut unit = 0;
        for _ in 0..digits {
            unit = unit * 16 + self.next()?.to_digit(16).ok_or("a hexadecimal digit is missing")?;
        }
        Ok(unit)
    }
}
