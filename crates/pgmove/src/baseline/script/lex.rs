//! A lexer for SQL by the rules of PostgreSQL's scanners (`scan.l`, `psqlscan.l`), sufficient to find the ends of
//! statements and the names in them.

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted name, in lower case.
    Word(String),
    /// A quoted name, without its quotes.
    Quoted(String),
    /// A string of any form: the text between the quotes, escapes unchanged.
    Text(String),
    /// A number, as written.
    Number(String),
    /// An operator character, or the beginning of a parameter.
    Other(char),
    /// Something that only `psql` understands, with a description.
    Psql(&'static str),
}

/// A token with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Byte offset of its beginning.
    pub(crate) start: usize,
    /// Byte offset after its end.
    pub(crate) end: usize,
}

impl Token {
    /// True for this keyword, unquoted.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    /// True for this punctuation character.
    pub(crate) fn is_char(&self, c: char) -> bool {
        self.kind == Kind::Other(c)
    }

    /// A name, quoted or not, as stored in the catalog.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// An unterminated string, comment or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Byte offset of its beginning.
    pub(crate) start: usize,
    /// A description of it.
    pub(crate) what: &'static str,
}

/// Splits a text into tokens. Comments are omitted; `on_comment` is called for each line comment with its offset.
pub(crate) fn tokens(text: &str, mut on_comment: impl FnMut(usize, &str)) -> Result<Vec<Token>, Unfinished> {
    let mut scan = Scan { text, at: 0 };
    let mut out = Vec::new();
    while let Some(c) = scan.peek() {
        let start = scan.at;
        if c.is_whitespace() {
            scan.bump();
            continue;
        }
        if scan.looking_at("--") {
            let line = scan.rest().lines().next().unwrap_or_default();
            on_comment(start, line);
            scan.at += line.len();
            continue;
        }
        if scan.looking_at("/*") {
            scan.block_comment()?;
            continue;
        }
        let kind = scan.token(c)?;
        out.push(Token { kind, start, end: scan.at });
    }
    Ok(out)
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn looking_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    /// Block comments nest.
    fn block_comment(&mut self) -> Result<(), Unfinished> {
        let (start, mut depth) = (self.at, 0_usize);
        while !self.rest().is_empty() {
            if self.looking_at("/*") {
                (depth, self.at) = (depth + 1, self.at + 2);
            } else if self.looking_at("*/") {
                (depth, self.at) = (depth - 1, self.at + 2);
                if depth == 0 {
                    return Ok(());
                }
            } else {
                self.bump();
            }
        }
        Err(Unfinished { start, what: "a comment" })
    }

    fn token(&mut self, c: char) -> Result<Kind, Unfinished> {
        let mut next = self.rest().chars().skip(1);
        let second = next.next();
        let third = next.next();
        match (c, second, third) {
            ('\'', ..) => self.string(false),
            ('"', ..) => self.quoted(),
            ('e' | 'E', Some('\''), _) => {
                self.bump();
                self.string(true)
            }
            ('b' | 'B' | 'x' | 'X' | 'n' | 'N', Some('\''), _) => {
                self.bump();
                self.string(false)
            }
            ('u' | 'U', Some('&'), Some('\'')) => {
                self.at += 2;
                self.string(false)
            }
            ('u' | 'U', Some('&'), Some('"')) => {
                self.at += 2;
                self.quoted()
            }
            ('$', ..) => self.dollar(),
            ('\\', ..) => {
                // A meta-command extends to the end of its line.
                let line = self.rest().lines().next().unwrap_or_default();
                self.at += line.len();
                Ok(Kind::Psql("a meta-command"))
            }
            (':', Some(':'), _) => {
                self.at += 2;
                Ok(Kind::Other(':'))
            }
            (':', Some('\'' | '"' | '{'), _) => {
                self.bump();
                match second {
                    Some('\'') => drop(self.string(false)?),
                    Some('"') => drop(self.quoted()?),
                    _ => drop(self.bump()),
                }
                Ok(Kind::Psql("a variable"))
            }
            (c, ..) if begins_name(c) => {
                let mut word = String::new();
                while let Some(c) = self.peek().filter(|c| continues_name(*c)) {
                    word.extend(c.to_lowercase());
                    self.bump();
                }
                Ok(Kind::Word(word))
            }
            (c, ..) if c.is_ascii_digit() => {
                let mut digits = String::new();
                while let Some(c) = self.peek().filter(|c| continues_name(*c) || *c == '.') {
                    digits.push(c);
                    self.bump();
                }
                Ok(Kind::Number(digits))
            }
            (c, ..) => {
                self.bump();
                Ok(Kind::Other(c))
            }
        }
    }

    fn string(&mut self, escapes: bool) -> Result<Kind, Unfinished> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.bump() {
            match c {
                '\\' if escapes => {
                    text.push(c);
                    text.extend(self.bump());
                }
                '\'' if self.peek() == Some('\'') => {
                    self.bump();
                    text.push('\'');
                }
                '\'' => return Ok(Kind::Text(text)),
                c => text.push(c),
            }
        }
        Err(Unfinished { start, what: "a string" })
    }

    fn quoted(&mut self) -> Result<Kind, Unfinished> {
        let start = self.at;
        self.bump();
        let mut name = String::new();
        while let Some(c) = self.bump() {
            match c {
                '"' if self.peek() == Some('"') => {
                    self.bump();
                    name.push('"');
                }
                '"' => return Ok(Kind::Quoted(name)),
                c => name.push(c),
            }
        }
        Err(Unfinished { start, what: "a quoted name" })
    }

    /// `$$ … $$`, `$tag$ … $tag$`, or a parameter.
    fn dollar(&mut self) -> Result<Kind, Unfinished> {
        let start = self.at;
        let after = self.text.get(start + 1..).unwrap_or_default();
        let tag = after.split(|c: char| !continues_name(c) || c == '$').next().unwrap_or_default();
        let opens = after.get(tag.len()..).is_some_and(|rest| rest.starts_with('$'))
            && !tag.starts_with(|c: char| c.is_ascii_digit());
        if !opens {
            self.bump();
            return Ok(Kind::Other('$'));
        }
        let fence = format!("${tag}$");
        self.at += fence.len();
        match self.rest().find(&fence) {
            Some(length) => {
                let body = self.rest().get(..length).unwrap_or_default().to_owned();
                self.at += length + fence.len();
                Ok(Kind::Text(body))
            }
            None => Err(Unfinished { start, what: "a dollar-quoted string" }),
        }
    }
}

fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_name(c: char) -> bool {
    begins_name(c) || c.is_ascii_digit() || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text, |_, _| ()).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn strings_names_and_comments_hide_what_they_hold() {
        let text = r#"a'--;''x' E'\';' "q"";--" $$;'$$ $t$ $$;$t$ /* ; /* ' */ " */ U&"d" b'1' -- ' ;
            $1 x::y 1.5e3 :name"#;
        let word = |text: &str| Kind::Word(text.to_owned());
        let string = |text: &str| Kind::Text(text.to_owned());
        assert_eq!(
            kinds(text),
            [
                word("a"),
                string("--;'x"),
                string("\\';"),
                Kind::Quoted("q\";--".to_owned()),
                string(";'"),
                string(" $$;"),
                Kind::Quoted("d".to_owned()),
                string("1"),
                Kind::Other('$'),
                Kind::Number("1".to_owned()),
                word("x"),
                Kind::Other(':'),
                word("y"),
                Kind::Number("1.5e3".to_owned()),
                Kind::Other(':'),
                word("name"),
            ]
        );
    }

    #[test]
    fn unterminated_tokens_are_reported_with_their_beginning() {
        for (text, start, what) in [
            ("a /* /* */", 2, "a comment"),
            ("'x", 0, "a string"),
            ("E'\\'", 1, "a string"),
            (" \"x", 1, "a quoted name"),
            ("한 $a$ $$", 4, "a dollar-quoted string"),
        ] {
            assert_eq!(tokens(text, |_, _| ()).unwrap_err(), Unfinished { start, what }, "{text}");
        }
    }

    #[test]
    fn what_only_psql_knows_is_seen() {
        assert_eq!(kinds("\\i x.sql\na")[0], Kind::Psql("a meta-command"));
        assert!(kinds("SELECT :'who'").contains(&Kind::Psql("a variable")));
        assert!(!kinds("SELECT a[1:2], '\\i'").iter().any(|kind| matches!(kind, Kind::Psql(_))));
    }
}
