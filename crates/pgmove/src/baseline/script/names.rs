//! A reader over a statement's tokens: keywords, names, lists in parentheses.

use super::lex::{Kind, Token};

/// A name as written in a statement, qualified or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Reads tokens one after another.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Reader<'a> {
        Reader { tokens, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    pub(super) fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// Consumes these keywords if they come next; returns whether they did.
    pub(super) fn eat(&mut self, words: &str) -> bool {
        let mut ahead = *self;
        for word in words.split(' ') {
            if !ahead.next().is_some_and(|token| token.is(word)) {
                return false;
            }
        }
        *self = ahead;
        true
    }

    pub(super) fn eat_char(&mut self, c: char) -> bool {
        let there = self.peek().is_some_and(|token| token.is_char(c));
        self.at += usize::from(there);
        there
    }

    /// A name without schema.
    pub(super) fn name(&mut self) -> Option<String> {
        let name = self.peek()?.name()?.to_owned();
        self.at += 1;
        Some(name)
    }

    /// `name` or `schema.name`; of `database.schema.name`, the last two parts.
    pub(super) fn qualified(&mut self) -> Option<Written> {
        let mut written = Written { schema: None, name: self.name()? };
        while self.peek().is_some_and(|token| token.is_char('.')) {
            self.at += 1;
            written = Written { schema: Some(written.name), name: self.name()? };
        }
        Some(written)
    }

    /// Consumes a group in parentheses and returns its contents.
    pub(super) fn group(&mut self) -> Option<&'a [Token]> {
        if !self.eat_char('(') {
            return None;
        }
        let (from, mut depth) = (self.at, 1_usize);
        while let Some(token) = self.next() {
            match token.kind {
                Kind::Other('(') => depth += 1,
                Kind::Other(')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return self.tokens.get(from..self.at - 1);
            }
        }
        self.tokens.get(from..)
    }
}

/// Splits a list at commas outside parentheses and brackets.
pub(super) fn parts(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Other('(' | '[') => depth += 1,
            Kind::Other(')' | ']') => depth = depth.saturating_sub(1),
            Kind::Other(',') if depth == 0 => {
                parts.extend(tokens.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(tokens.get(from..).filter(|rest| !rest.is_empty()));
    parts
}
