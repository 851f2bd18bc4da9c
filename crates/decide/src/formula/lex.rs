//! Tokens of a formula. Positions are characters, as they are shown to users.

use api::go::quote;

use super::Fault;
use super::parse::{MAX_NODES, too_large};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Identifier,
    Number,
    Text,
    Operator,
    Bracket,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: String,
    pub at: usize,
}

impl Token {
    pub fn is(&self, kind: Kind, text: &str) -> bool {
        self.kind == kind && self.text == text
    }

    pub fn operator(&self, text: &str) -> bool {
        self.is(Kind::Operator, text)
    }

    pub fn bracket(&self, text: &str) -> bool {
        self.is(Kind::Bracket, text)
    }

    /// As error texts name it.
    pub fn shown(&self) -> String {
        let kind = match self.kind {
            Kind::Identifier => "Identifier",
            Kind::Number => "Number",
            Kind::Text => "String",
            Kind::Operator => "Operator",
            Kind::Bracket => "Bracket",
            Kind::End => "EOF",
        };
        if self.text.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}({})", quote(&self.text))
        }
    }
}

/// Words that are operators.
const WORDS: &[&str] = &[
    "not",
    "in",
    "or",
    "and",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "let",
    "if",
    "else",
];

fn is_word(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic() || c.is_numeric()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        tokens: Vec::new(),
    };
    while let Some(c) = lexer.peek() {
        lexer.token(c)?;
        if lexer.tokens.len() > MAX_NODES {
            return Err(too_large());
        }
    }
    lexer.tokens.push(Token {
        kind: Kind::End,
        text: String::new(),
        at: lexer.chars.len().saturating_sub(1),
    });
    Ok(lexer.tokens)
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn accept(&mut self, any: &str) -> bool {
        let found = self.peek().is_some_and(|c| any.contains(c));
        self.at += usize::from(found);
        found
    }

    fn run(&mut self, any: &str) {
        while self.accept(any) {}
    }

    fn emit(&mut self, kind: Kind, from: usize) {
        let text = self.chars[from..self.at].iter().collect();
        self.push(kind, text, from);
    }

    fn push(&mut self, kind: Kind, text: String, at: usize) {
        self.tokens.push(Token { kind, text, at });
    }

    fn token(&mut self, c: char) -> Result<(), Fault> {
        let from = self.at;
        match c {
            c if c.is_whitespace() => self.at += 1,
            '\'' | '"' => return self.quoted(c),
            '`' => return self.raw(),
            '0'..='9' => return self.number(),
            '?' => {
                self.at += 1;
                self.accept(".?");
                self.emit(Kind::Operator, from);
            }
            '/' => self.slash(),
            '#' => {
                self.at += 1;
                self.emit(Kind::Operator, from);
                let word = self.at;
                while self.peek().is_some_and(is_word) {
                    self.at += 1;
                }
                if self.at > word {
                    self.emit(Kind::Identifier, word);
                }
            }
            '|' => {
                self.at += 1;
                self.accept("|");
                self.emit(Kind::Operator, from);
            }
            ':' => {
                self.at += 1;
                self.accept(":");
                self.emit(Kind::Operator, from);
            }
            '(' | '[' | '{' | ')' | ']' | '}' => {
                self.at += 1;
                self.emit(Kind::Bracket, from);
            }
            ',' | ';' | '%' | '+' | '-' | '^' => {
                self.at += 1;
                self.emit(Kind::Operator, from);
            }
            '&' | '!' | '=' | '*' | '<' | '>' => {
                self.at += 1;
                self.accept("&=*");
                self.emit(Kind::Operator, from);
            }
            '.' => {
                let digit = self.chars.get(from + 1).is_some_and(char::is_ascii_digit);
                if digit {
                    return self.number();
                }
                self.at += 1;
                self.accept(".");
                self.emit(Kind::Operator, from);
            }
            c if is_word(c) => {
                while self.peek().is_some_and(is_word) {
                    self.at += 1;
                }
                self.emit(Kind::Identifier, from);
                if let Some(last) = self.tokens.last_mut()
                    && WORDS.contains(&last.text.as_str())
                {
                    last.kind = Kind::Operator;
                }
            }
            c => {
                let text = format!("unrecognized character: U+{:04X} '{c}'", c as u32);
                return Err(Fault::new(text, from));
            }
        }
        Ok(())
    }

    fn slash(&mut self) {
        let from = self.at;
        self.at += 1;
        if self.accept("/") {
            while self.peek().is_some_and(|c| c != '\n') {
                self.at += 1;
            }
        } else if self.accept("*") {
            while let Some(c) = self.peek() {
                self.at += 1;
                if c == '*' && self.accept("/") {
                    break;
                }
            }
        } else {
            self.emit(Kind::Operator, from);
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.run(digits);
        if self.peek() == Some('.') {
            // Two dots are a range.
            if self.chars.get(self.at + 1) == Some(&'.') {
                self.emit(Kind::Number, from);
                return Ok(());
            }
            self.at += 1;
            self.run(digits);
        }
        if self.accept("eE") {
            self.accept("+-");
            self.run(digits);
        }
        if self.peek().is_some_and(is_word) {
            self.at += 1;
            let word: String = self.chars[from..self.at].iter().collect();
            let text = format!("bad number syntax: {}", quote(&word));
            return Err(Fault::new(text, self.at - 1));
        }
        self.emit(Kind::Number, from);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let rest = &self.chars[from + 1..];
        let Some(length) = rest.iter().position(|c| *c == '`') else {
            let text = "literal not terminated".to_owned();
            return Err(Fault::new(text, self.chars.len()));
        };
        let text = rest[..length].iter().collect();
        self.at = from + length + 2;
        self.push(Kind::Text, text, from);
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), Fault> {
        let from = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            let open = || Fault::new("literal not terminated".to_owned(), 0);
            let Some(c) = self.peek().filter(|c| *c != '\n') else {
                return Err(Fault {
                    at: Some(self.at),
                    ..open()
                });
            };
            self.at += 1;
            if c == quote {
                break;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.escape() {
                Some(c) => text.push(c),
                None => {
                    let text = "invalid char escape".to_owned();
                    return Err(Fault::new(text, self.at.saturating_sub(1)));
                }
            }
        }
        self.push(Kind::Text, text, from);
        Ok(())
    }

    fn escape(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        let (digits, radix) = match c {
            'a' => return Some('\u{7}'),
            'b' => return Some('\u{8}'),
            'f' => return Some('\u{c}'),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'v' => return Some('\u{b}'),
            '\\' | '\'' | '"' => return Some(c),
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return None,
        };
        let end = self.at.checked_add(digits)?;
        let word: String = self.chars.get(self.at..end)?.iter().collect();
        // A sign would be read, too.
        if !word.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at = end;
        char::from_u32(u32::from_str_radix(&word, radix).ok()?)
    }
}
