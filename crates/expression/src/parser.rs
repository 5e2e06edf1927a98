//! Tokens → tree: one recursive-descent parser for every kind.

use headwater_types::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_OPERATORS_MAX};

use crate::error::{Error, Kind};
use crate::lexer::{Class, Token, tokens};
use crate::tree::{RawAction, RawCondition, RawElement, RawOperand, RawPath, RawUpdate, RawValue};

/// Deepest nesting of parentheses that is followed, so that the stack is bounded: whatever is nested deeper has redundant
/// parentheses or more operators than are allowed.
const DEPTH_MAX: usize = EXPRESSION_OPERATORS_MAX + 20;
/// Largest index of a list element. Source: unverified.
const INDEX_MAX: usize = i32::MAX as usize;

/// A parser over one expression's tokens.
pub struct Parser<'a> {
    kind: Kind,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    operators: usize,
    redundant: bool,
    depth: usize,
}

/// A condition, or an operand that may still become the left side of one.
enum Primary {
    Condition(RawCondition),
    Operand(RawOperand),
}

struct Term {
    primary: Primary,
    /// It stood in parentheses of its own.
    parenthesised: bool,
}

impl<'a> Parser<'a> {
    /// Checks the text's size and takes it apart into tokens.
    pub fn new(kind: Kind, text: &'a str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::in_expression(kind, "The expression can not be empty;"));
        }
        if text.len() > EXPRESSION_BYTES_MAX {
            let detail = "Expression size has exceeded the maximum allowed size;";
            // Source: observed on the service by dynamodb-conformance (deepRequests): an update's size is not told.
            return Err(Error::in_expression(
                kind,
                match kind {
                    Kind::Update => detail.to_owned(),
                    Kind::Condition | Kind::Filter | Kind::Projection | Kind::KeyCondition => {
                        format!("{detail} expression size: {}", text.len())
                    }
                },
            ));
        }
        let tokens = tokens(text);
        Ok(Self { kind, text, tokens, at: 0, operators: 0, redundant: false, depth: 0 })
    }

    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.tokens[self.at];
        if token.class != Class::End {
            self.at += 1;
        }
        token
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.peek().is(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_keyword(keyword);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// `Syntax error; token: …, near: …` at the current token; near is the text from the token before to the one after.
    fn unexpected(&self) -> Error {
        let token = self.peek();
        let start = self.tokens[self.at.saturating_sub(1)].start;
        let end = self.tokens.get(self.at + 1).unwrap_or(&token).end();
        let near = &self.text[start.min(end)..end];
        Error::in_expression(self.kind, format!("Syntax error; token: \"{}\", near: \"{near}\"", token.text))
    }

    fn count_operator(&mut self) {
        self.operators += 1;
    }

    /// The words that the kind's own grammar takes, so that they are never names in it.
    fn keywords(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Update => &["SET", "REMOVE", "ADD", "DELETE"],
            Kind::Condition | Kind::Filter | Kind::KeyCondition => &["AND", "OR", "NOT", "IN", "BETWEEN"],
            Kind::Projection => &[],
        }
    }

    fn is_name(&self, token: &Token<'_>) -> bool {
        token.class == Class::Name && !self.keywords().iter().any(|keyword| token.is_keyword(keyword))
    }

    /// Nothing may follow; then come the rules that need no more than the tokens.
    fn finish(&self) -> Result<(), Error> {
        if self.peek().class != Class::End {
            return Err(self.unexpected());
        }
        if self.redundant {
            return Err(Error::in_expression(self.kind, "The expression has redundant parentheses;"));
        }
        if self.operators > EXPRESSION_OPERATORS_MAX {
            let detail = format!("The expression contains too many operators; operator count: {}", self.operators);
            return Err(Error::in_expression(self.kind, detail));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::in_expression(self.kind, "The expression has redundant parentheses;"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// A whole condition, filter or key condition.
    pub fn condition(mut self) -> Result<RawCondition, Error> {
        let term = self.or()?;
        let condition = self.as_condition(term.primary)?;
        self.finish()?;
        Ok(condition)
    }

    fn as_condition(&self, primary: Primary) -> Result<RawCondition, Error> {
        match primary {
            Primary::Condition(condition) => Ok(condition),
            Primary::Operand(RawOperand::Function { name, arguments }) => {
                Ok(RawCondition::Function { name, arguments })
            }
            Primary::Operand(RawOperand::Path(_) | RawOperand::Value(_)) => Err(self.unexpected()),
        }
    }

    fn or(&mut self) -> Result<Term, Error> {
        let mut left = self.and()?;
        while self.peek().is_keyword("OR") {
            let first = self.as_condition(left.primary)?;
            self.next();
            self.count_operator();
            let second = self.and()?;
            let second = self.as_condition(second.primary)?;
            left = Term::of(RawCondition::Or(Box::new(first), Box::new(second)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Term, Error> {
        let mut left = self.not()?;
        while self.peek().is_keyword("AND") {
            let first = self.as_condition(left.primary)?;
            self.next();
            self.count_operator();
            let second = self.not()?;
            let second = self.as_condition(second.primary)?;
            left = Term::of(RawCondition::And(Box::new(first), Box::new(second)));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Term, Error> {
        let mut nots = 0;
        while self.eat_keyword("NOT") {
            self.count_operator();
            nots += 1;
        }
        let inner = self.comparison()?;
        if nots == 0 {
            return Ok(inner);
        }
        let inner = self.as_condition(inner.primary)?;
        Ok(Term::of((0..nots).fold(inner, |inner, _| RawCondition::Not(Box::new(inner)))))
    }

    fn comparison(&mut self) -> Result<Term, Error> {
        let left = self.primary()?;
        let operand = match left.primary {
            Primary::Operand(operand) => operand,
            condition @ Primary::Condition(_) => return Ok(Term { primary: condition, ..left }),
        };
        let token = self.peek();
        if token.class == Class::Symbol && ["=", "<>", "<", "<=", ">", ">="].contains(&token.text) {
            self.next();
            self.count_operator();
            let right = self.operand()?;
            return Ok(Term::of(RawCondition::Compare(token.text.to_owned(), operand, right)));
        }
        if self.eat_keyword("BETWEEN") {
            self.count_operator();
            let lower = self.operand()?;
            if !self.eat_keyword("AND") {
                return Err(self.unexpected());
            }
            let upper = self.operand()?;
            return Ok(Term::of(RawCondition::Between(operand, lower, upper)));
        }
        if self.eat_keyword("IN") {
            self.count_operator();
            self.expect("(")?;
            let candidates = self.list()?;
            return Ok(Term::of(RawCondition::In(operand, candidates)));
        }
        Ok(Term { primary: Primary::Operand(operand), ..left })
    }

    fn primary(&mut self) -> Result<Term, Error> {
        if !self.eat("(") {
            return Ok(Term { primary: Primary::Operand(self.operand()?), parenthesised: false });
        }
        let inner = self.deeper(Self::or)?;
        self.expect(")")?;
        // One pair around one thing is fine, a second pair around the same thing is not.
        self.redundant |= inner.parenthesised;
        match inner.primary {
            Primary::Operand(RawOperand::Path(path)) if self.path_goes_on() => {
                let path = RawOperand::Path(self.rest_of_path(path)?);
                Ok(Term { primary: Primary::Operand(path), parenthesised: false })
            }
            primary => Ok(Term { primary, parenthesised: true }),
        }
    }

    fn operand(&mut self) -> Result<RawOperand, Error> {
        Ok(self.grouped_operand()?.0)
    }

    /// An operand, and whether parentheses of its own stand around it.
    fn grouped_operand(&mut self) -> Result<(RawOperand, bool), Error> {
        if !self.eat("(") {
            return Ok((self.bare_operand()?, false));
        }
        let (inner, parenthesised) = self.deeper(Self::grouped_operand)?;
        self.expect(")")?;
        self.redundant |= parenthesised;
        match inner {
            RawOperand::Path(path) if self.path_goes_on() => Ok((RawOperand::Path(self.rest_of_path(path)?), false)),
            inner => Ok((inner, true)),
        }
    }

    fn bare_operand(&mut self) -> Result<RawOperand, Error> {
        let token = self.peek();
        if token.class == Class::ValueRef {
            self.next();
            return Ok(RawOperand::Value(token.text.to_owned()));
        }
        if self.is_name(&token) && self.tokens.get(self.at + 1).is_some_and(|next| next.is("(")) {
            self.at += 2;
            let arguments = self.deeper(Self::list)?;
            return Ok(RawOperand::Function { name: token.text.to_owned(), arguments });
        }
        Ok(RawOperand::Path(self.path()?))
    }

    /// Operands up to a closing parenthesis, which is taken too.
    fn list(&mut self) -> Result<Vec<RawOperand>, Error> {
        let mut operands = vec![self.operand()?];
        while self.eat(",") {
            operands.push(self.operand()?);
        }
        self.expect(")")?;
        Ok(operands)
    }

    fn path(&mut self) -> Result<RawPath, Error> {
        let first = self.name()?;
        self.rest_of_path(vec![first])
    }

    fn path_goes_on(&self) -> bool {
        self.peek().is(".") || self.peek().is("[")
    }

    fn rest_of_path(&mut self, mut path: RawPath) -> Result<RawPath, Error> {
        loop {
            if self.eat(".") {
                path.push(self.name()?);
            } else if self.eat("[") {
                path.push(self.index()?);
                self.expect("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn index(&mut self) -> Result<RawElement, Error> {
        let token = self.peek();
        if token.class != Class::Index {
            return Err(self.unexpected());
        }
        self.next();
        match token.text.parse::<usize>() {
            Ok(index) if index <= INDEX_MAX => Ok(RawElement::Index(index)),
            _ => {
                let text = format!("List index is not within the allowable range; index: [{}]", token.text);
                Err(Error::in_expression(self.kind, text))
            }
        }
    }

    fn name(&mut self) -> Result<RawElement, Error> {
        let token = self.peek();
        let element = match token.class {
            Class::Name if self.is_name(&token) => RawElement::Name(token.text.to_owned()),
            Class::NameRef => RawElement::Ref(token.text.to_owned()),
            Class::Name | Class::ValueRef | Class::Index | Class::Symbol | Class::Garbage | Class::End => {
                return Err(self.unexpected());
            }
        };
        self.next();
        Ok(element)
    }

    /// A whole projection.
    pub fn projection(mut self) -> Result<Vec<RawPath>, Error> {
        let mut paths = vec![self.path()?];
        while self.eat(",") {
            paths.push(self.path()?);
        }
        self.finish()?;
        Ok(paths)
    }

    /// A whole update.
    pub fn update(mut self) -> Result<RawUpdate, Error> {
        let mut update = RawUpdate::default();
        let mut seen = Vec::new();
        loop {
            let section = ["SET", "REMOVE", "ADD", "DELETE"].into_iter().find(|s| self.peek().is_keyword(s));
            let Some(section) = section else { return Err(self.unexpected()) };
            self.next();
            if seen.contains(&section) {
                update.repeated.get_or_insert(section);
            }
            seen.push(section);
            loop {
                let action = self.action(section)?;
                update.actions.push(action);
                if !self.eat(",") {
                    break;
                }
            }
            if self.peek().class == Class::End {
                self.finish()?;
                return Ok(update);
            }
        }
    }

    fn action(&mut self, section: &str) -> Result<RawAction, Error> {
        let path = self.path()?;
        match section {
            "SET" => {
                self.expect("=")?;
                Ok(RawAction::Set(path, self.value()?.0))
            }
            "REMOVE" => Ok(RawAction::Remove(path)),
            _ => {
                let token = self.peek();
                if token.class != Class::ValueRef {
                    return Err(self.unexpected());
                }
                let operand = self.operand()?;
                Ok(if section == "ADD" { RawAction::Add(path, operand) } else { RawAction::Delete(path, operand) })
            }
        }
    }

    /// The right side of a SET, and whether parentheses of its own stand around it.
    fn value(&mut self) -> Result<(RawValue, bool), Error> {
        let (left, parenthesised) = if self.eat("(") {
            let (inner, again) = self.deeper(Self::value)?;
            self.expect(")")?;
            self.redundant |= again;
            match inner {
                RawValue { left: RawOperand::Path(path), right: None } if self.path_goes_on() => {
                    (RawOperand::Path(self.rest_of_path(path)?), false)
                }
                RawValue { left, right: None } => (left, true),
                sum => return Ok((sum, true)),
            }
        } else {
            (self.bare_operand()?, false)
        };
        let Some(sign) = ['+', '-'].into_iter().find(|sign| self.peek().is(sign.encode_utf8(&mut [0; 4]))) else {
            return Ok((RawValue { left, right: None }, parenthesised));
        };
        self.next();
        self.count_operator();
        let right = Some((sign, self.operand()?));
        Ok((RawValue { left, right }, false))
    }
}

impl Term {
    fn of(condition: RawCondition) -> Self {
        Self { primary: Primary::Condition(condition), parenthesised: false }
    }
}
