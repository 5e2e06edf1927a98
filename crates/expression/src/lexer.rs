//! Text → tokens.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// A bare name or a keyword.
    Name,
    /// `#name`.
    NameRef,
    /// `:value`.
    ValueRef,
    /// Digits.
    Index,
    /// A comparator, bracket, dot, comma, plus or minus.
    Symbol,
    /// Something that begins no token.
    Garbage,
    /// Behind the last token.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    pub class: Class,
    pub text: &'a str,
    pub start: usize,
}

impl Token<'_> {
    /// True for a symbol with this text.
    pub fn is(&self, symbol: &str) -> bool {
        self.class == Class::Symbol && self.text == symbol
    }

    /// True for a bare name with this text in any case.
    pub fn is_keyword(&self, keyword: &str) -> bool {
        self.class == Class::Name && self.text.eq_ignore_ascii_case(keyword)
    }

    pub fn end(&self) -> usize {
        self.start + if self.class == Class::End { 0 } else { self.text.len() }
    }
}

/// All tokens, the last of class `End`.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = &text[at..];
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let word = |from: usize| from + rest[from..].find(|c| !is_word(c)).unwrap_or(rest.len() - from);
        let (class, length) = match first {
            'a'..='z' | 'A'..='Z' => (Class::Name, word(0)),
            '#' if word(1) > 1 => (Class::NameRef, word(1)),
            ':' if word(1) > 1 => (Class::ValueRef, word(1)),
            '0'..='9' => (Class::Index, rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            '<' if rest.starts_with("<=") || rest.starts_with("<>") => (Class::Symbol, 2),
            '>' if rest.starts_with(">=") => (Class::Symbol, 2),
            '=' | '<' | '>' | '(' | ')' | '[' | ']' | '.' | ',' | '+' | '-' => (Class::Symbol, 1),
            other => (Class::Garbage, other.len_utf8()),
        };
        tokens.push(Token { class, text: &rest[..length], start: at });
        at += length;
    }
    tokens.push(Token { class: Class::End, text: "<EOF>", start: text.len() });
    tokens
}
