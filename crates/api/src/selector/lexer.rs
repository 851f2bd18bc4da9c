//! Splits the text of a label selector into tokens.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

/// A token with its text.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn symbol(text: &str) -> Option<Kind> {
    Some(match text {
        ")" => Kind::Close,
        "," => Kind::Comma,
        "!" => Kind::Not,
        "==" => Kind::DoubleEquals,
        "=" => Kind::Equals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        "!=" => Kind::NotEquals,
        "(" => Kind::Open,
        _ => return None,
    })
}

/// All tokens, the last one being `End`. A zero byte ends the text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let text = &text[..text.find('\0').unwrap_or(text.len())];
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_space(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        if is_symbol(bytes[at]) {
            let two = text.get(at..at + 2).and_then(symbol);
            at += if two.is_some() { 2 } else { 1 };
            let kind = two
                .or_else(|| symbol(&text[start..at]))
                .unwrap_or(Kind::Identifier);
            out.push(Token {
                kind,
                text: &text[start..at],
            });
            continue;
        }
        while at < bytes.len() && !is_space(bytes[at]) && !is_symbol(bytes[at]) {
            at += 1;
        }
        let word = &text[start..at];
        let kind = match word {
            "in" => Kind::In,
            "notin" => Kind::NotIn,
            _ => Kind::Identifier,
        };
        out.push(Token { kind, text: word });
    }
    out.push(Token {
        kind: Kind::End,
        text: "",
    });
    out
}
