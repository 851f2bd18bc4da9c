//! From text to [`Expr`]. Both depth and length are bounded, because rules come
//! with anybody's definitions.

use serde_json::Value;

/// Levels of nesting, and steps of one path or chain of operators.
const DEPTH: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(Value),
    Name(String),
    Field(Box<Expr>, String),
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    /// A function, or a method with what it is called on first.
    Call(String, Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Each(Macro, Box<Expr>, String, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Op(&'static str),
}

const OPERATORS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "(", ")", "[", "]", "{", "}", ".",
    ",", "+", "-", "*", "/", "%",
];

/// The names in a text, without those of fields.
pub(super) fn names(text: &str) -> impl Iterator<Item = String> {
    let tokens = tokens(text).unwrap_or_default();
    let dots = std::iter::once(false)
        .chain(tokens.iter().map(|t| *t == Token::Op(".")))
        .collect::<Vec<_>>();
    tokens
        .into_iter()
        .zip(dots)
        .filter_map(|(token, after_dot)| match token {
            Token::Name(name) if !after_dot => Some(name),
            _ => None,
        })
}

/// Nothing for what is not understood.
pub(super) fn parse(text: &str) -> Option<Expr> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let expr = parser.conditional()?;
    (parser.at == tokens.len()).then_some(expr)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let raw = rest.starts_with("r'") || rest.starts_with("r\"");
        if raw || first == '\'' || first == '"' {
            let (text, after) = string(&rest[usize::from(raw)..], raw)?;
            out.push(Token::Literal(text.into()));
            rest = after;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            out.push(match &rest[..end] {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                "null" => Token::Literal(Value::Null),
                "in" => Token::Op("in"),
                name => Token::Name(name.to_owned()),
            });
            rest = &rest[end..];
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != 'e' && c != 'E')
                .unwrap_or(rest.len());
            out.push(Token::Literal(serde_json::from_str(&rest[..end]).ok()?));
            // An unsigned number is one that happens not to be negative.
            rest = rest[end..].strip_prefix('u').unwrap_or(&rest[end..]);
        } else if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else {
            let op = OPERATORS.iter().find(|op| rest.starts_with(**op))?;
            out.push(Token::Op(op));
            rest = &rest[op.len()..];
        }
        rest = rest.trim_start();
    }
    Some(out)
}

/// A literal text and what comes after it.
fn string(text: &str, raw: bool) -> Option<(String, &str)> {
    let quote = text.chars().next()?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((out, &text[at + 1..])),
            '\\' if !raw => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '\'' | '"' | '`' | '?') => same,
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    None
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, op: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Op(o)) if *o == op);
        self.at += usize::from(found);
        found
    }

    fn conditional(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let condition = self.or()?;
        let out = if self.eat("?") {
            let then = self.conditional()?;
            if !self.eat(":") {
                return None;
            }
            let other = self.conditional()?;
            Expr::If(Box::new(condition), Box::new(then), Box::new(other))
        } else {
            condition
        };
        self.depth -= 1;
        Some(out)
    }

    fn or(&mut self) -> Option<Expr> {
        let mut left = self.and()?;
        for _ in 0..DEPTH {
            if !self.eat("||") {
                return Some(left);
            }
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        None
    }

    fn and(&mut self) -> Option<Expr> {
        let mut left = self.comparison()?;
        for _ in 0..DEPTH {
            if !self.eat("&&") {
                return Some(left);
            }
            left = Expr::And(Box::new(left), Box::new(self.comparison()?));
        }
        None
    }

    fn binary(
        &mut self,
        operators: &[(&str, Op)],
        next: fn(&mut Self) -> Option<Expr>,
    ) -> Option<Expr> {
        let mut left = next(self)?;
        for _ in 0..DEPTH {
            let Some((_, op)) = operators.iter().find(|(text, _)| self.eat(text)) else {
                return Some(left);
            };
            left = Expr::Binary(*op, Box::new(left), Box::new(next(self)?));
        }
        None
    }

    fn comparison(&mut self) -> Option<Expr> {
        let operators = [
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            ("<=", Op::LessEqual),
            (">=", Op::GreaterEqual),
            ("<", Op::Less),
            (">", Op::Greater),
            ("in", Op::In),
        ];
        self.binary(&operators, Self::sum)
    }

    fn sum(&mut self) -> Option<Expr> {
        let operators = [("+", Op::Add), ("-", Op::Subtract)];
        self.binary(&operators, Self::product)
    }

    fn product(&mut self) -> Option<Expr> {
        let operators = [("*", Op::Multiply), ("/", Op::Divide), ("%", Op::Remainder)];
        self.binary(&operators, Self::unary)
    }

    fn unary(&mut self) -> Option<Expr> {
        if self.eat("!") {
            return self.nested(|p| Some(Expr::Not(Box::new(p.unary()?))));
        }
        if self.eat("-") {
            return self.nested(|p| Some(Expr::Negate(Box::new(p.unary()?))));
        }
        self.member()
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Option<Expr>) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let out = inner(self)?;
        self.depth -= 1;
        Some(out)
    }

    fn member(&mut self) -> Option<Expr> {
        let mut value = self.primary()?;
        for _ in 0..DEPTH {
            if self.eat(".") {
                let Some(Token::Name(name)) = self.tokens.get(self.at).cloned() else {
                    return None;
                };
                self.at += 1;
                value = if self.eat("(") {
                    self.method(value, name)?
                } else {
                    Expr::Field(Box::new(value), unescaped(&name))
                };
            } else if self.eat("[") {
                let index = self.conditional()?;
                if !self.eat("]") {
                    return None;
                }
                value = Expr::Index(Box::new(value), Box::new(index));
            } else {
                return Some(value);
            }
        }
        None
    }

    fn method(&mut self, on: Expr, name: String) -> Option<Expr> {
        let each = match name.as_str() {
            "all" => Macro::All,
            "exists" => Macro::Exists,
            "exists_one" | "existsOne" => Macro::ExistsOne,
            "map" => Macro::Map,
            "filter" => Macro::Filter,
            _ => {
                let mut arguments = vec![on];
                arguments.extend(self.list(")")?);
                return Some(Expr::Call(name, arguments));
            }
        };
        let arguments: [Expr; 2] = self.list(")")?.try_into().ok()?;
        let [Expr::Name(variable), body] = arguments else {
            return None;
        };
        Some(Expr::Each(each, Box::new(on), variable, Box::new(body)))
    }

    /// Expressions until a closing token.
    fn list(&mut self, close: &str) -> Option<Vec<Expr>> {
        let mut out = Vec::new();
        while !self.eat(close) {
            if !out.is_empty() && !self.eat(",") {
                return None;
            }
            // A comma may stand before the end.
            if self.eat(close) {
                break;
            }
            out.push(self.conditional()?);
        }
        Some(out)
    }

    fn primary(&mut self) -> Option<Expr> {
        if self.eat("(") {
            let value = self.conditional()?;
            return self.eat(")").then_some(value);
        }
        if self.eat("[") {
            return Some(Expr::List(self.list("]")?));
        }
        if self.eat("{") {
            let mut entries = Vec::new();
            while !self.eat("}") {
                if !entries.is_empty() && !self.eat(",") {
                    return None;
                }
                let key = self.conditional()?;
                if !self.eat(":") {
                    return None;
                }
                entries.push((key, self.conditional()?));
            }
            return Some(Expr::Map(entries));
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        match token {
            Token::Literal(value) => Some(Expr::Literal(value)),
            Token::Name(name) if self.eat("(") => {
                let mut arguments = self.list(")")?;
                if name != "has" {
                    return Some(Expr::Call(name, arguments));
                }
                match (arguments.pop()?, arguments.is_empty()) {
                    (Expr::Field(of, field), true) => Some(Expr::Has(of, field)),
                    _ => None,
                }
            }
            Token::Name(name) => Some(Expr::Name(name)),
            Token::Op(_) => None,
        }
    }
}

/// A field's name: what is no identifier of CEL is written escaped in rules.
fn unescaped(name: &str) -> String {
    let reserved = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let inner = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    if let Some(word) = inner.filter(|w| reserved.contains(w)) {
        return word.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}
