//! URLs as Go's `net/url` and `net/http` read them: what is sent for a URL
//! that a user wrote, and the words for one that cannot be sent.

use base64::Engine as _;

use super::quote;

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http` or `https`, lower case.
    pub scheme: String,
    /// User information as written, without `@`.
    pub user: Option<String>,
    /// Host with port, as written; empty when there is none.
    pub host: String,
    /// Escaped path; empty when there is none.
    pub path: String,
    /// Raw query without `?`.
    pub query: Option<String>,
    opaque: bool,
}

impl Url {
    /// Takes a URL apart. The error is Go's, with the URL quoted in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = |cause: &str| format!("parse {}: {cause}", quote(text));
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(fail("net/url: invalid control character in URL"));
        }
        let whole = text.split_once('#').map_or(text, |(before, _)| before);
        let colon = whole.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let (scheme, rest) = match colon {
            Some(0) if whole.starts_with(':') => return Err(fail("missing protocol scheme")),
            Some(at)
                if whole[at..].starts_with(':') && whole.as_bytes()[0].is_ascii_alphabetic() =>
            {
                (whole[..at].to_ascii_lowercase(), &whole[at + 1..])
            }
            _ => (String::new(), whole),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query.to_owned())),
            None => (rest, None),
        };
        let mut url = Self {
            opaque: !scheme.is_empty() && !rest.starts_with('/'),
            scheme,
            user: None,
            host: String::new(),
            path: String::new(),
            query,
        };
        if url.opaque {
            return Ok(url);
        }
        if url.scheme.is_empty() && rest.split('/').next().is_some_and(|s| s.contains(':')) {
            return Err(fail("first path segment in URL cannot contain colon"));
        }
        let mut path = rest;
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('/').unwrap_or(after.len());
            let authority = &after[..end];
            path = &after[end..];
            match authority.rsplit_once('@') {
                Some((user, host)) => {
                    url.user = Some(user.to_owned());
                    url.host = host.to_owned();
                }
                None => url.host = authority.to_owned(),
            }
            check_host(&url.host).map_err(|cause| fail(&cause))?;
        }
        url.path = escaped_path(path).map_err(|cause| fail(&cause))?;
        Ok(url)
    }

    /// Why Go's client would not send a request to this URL.
    pub fn check_sendable(&self) -> Result<(), String> {
        if self.scheme != "http" && self.scheme != "https" {
            return Err(format!(
                "unsupported protocol scheme {}",
                quote(&self.scheme)
            ));
        }
        if self.opaque || self.host.is_empty() {
            return Err("http: no Host in request URL".to_owned());
        }
        Ok(())
    }

    /// What goes on the wire, without user information.
    pub fn target(&self) -> String {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        let mut out = format!("{}://{}{path}", self.scheme, self.host);
        if let Some(query) = &self.query {
            out.push('?');
            out.push_str(query);
        }
        out
    }

    /// The basic credentials that user information stands for.
    pub fn basic(&self) -> Option<String> {
        let user = self.user.as_deref()?;
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        Some(basic(&unescape(name)?, &unescape(password)?))
    }

    /// Resolves a `Location` against this URL.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme));
        }
        let origin = format!("{}://{}", self.scheme, self.host);
        if location.starts_with('/') {
            return Self::parse(&format!("{origin}{location}"));
        }
        let before = location.split(['/', '?', '#']).next().unwrap_or("");
        if before.contains(':') {
            return Self::parse(location);
        }
        if location.starts_with('?') {
            return Self::parse(&format!("{origin}{}{location}", self.path));
        }
        let folder = self.path.rfind('/').map_or("/", |end| &self.path[..=end]);
        Self::parse(&format!("{origin}{folder}{location}"))
    }
}

/// The URL with its password hidden, as Go shows it in errors.
pub fn without_password(text: &str) -> String {
    let Some(start) = text.find("://").map(|at| at + 3) else {
        return text.to_owned();
    };
    let end = text[start..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| start + at);
    match text[start..end].rsplit_once('@').and_then(|(user, host)| {
        user.split_once(':')
            .map(|(name, _)| format!("{name}:***@{host}"))
    }) {
        Some(authority) => format!("{}{authority}{}", &text[..start], &text[end..]),
        None => text.to_owned(),
    }
}

/// A basic authorization header's value.
pub fn basic(name: &str, password: &str) -> String {
    let plain = format!("{name}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(plain)
    )
}

/// Escapes a query parameter: spaces become `+`.
pub fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(bad) = host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        return Err(format!(
            "invalid character {} in host name",
            quote(&bad.to_string())
        ));
    }
    let port = if host.starts_with('[') {
        host.split_once(']').ok_or("missing ']' in host")?.1
    } else {
        host.find(':').map_or("", |at| &host[at..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (!port.is_empty() && !port.starts_with(':')) || digits.bytes().any(|b| !b.is_ascii_digit()) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    Ok(())
}

/// Keeps a path that is escaped already; escapes one that is not.
fn escaped_path(path: &str) -> Result<String, String> {
    let decoded = unescape_bytes(path)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&b);
    if path
        .bytes()
        .all(|b| plain(b) || b == b'%' || b == b'[' || b == b']')
    {
        return Ok(path.to_owned());
    }
    let mut out = String::with_capacity(path.len() + 8);
    for byte in decoded {
        if plain(byte) && !b"!'()*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

fn unescape_bytes(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        let pair = bytes.get(at + 1..at + 3);
        let value = pair
            .filter(|p| p.iter().all(u8::is_ascii_hexdigit))
            .and_then(|p| std::str::from_utf8(p).ok())
            .and_then(|p| u8::from_str_radix(p, 16).ok());
        let Some(value) = value else {
            let shown = &bytes[at..bytes.len().min(at + 3)];
            let shown = quote(&String::from_utf8_lossy(shown));
            return Err(format!("invalid URL escape {shown}"));
        };
        out.push(value);
        at += 3;
    }
    Ok(out)
}

fn unescape(text: &str) -> Option<String> {
    String::from_utf8(unescape_bytes(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        assert_eq!(
            without_password("http://u:secret@h:1/x"),
            "http://u:***@h:1/x"
        );
        assert_eq!(without_password("http://h/x@y"), "http://h/x@y");
    }

    #[test]
    fn locations_resolve() {
        let base = Url::parse("http://h:1/a/b?q").expect("url");
        for (location, want) in [
            ("/moved?x=1", "http://h:1/moved?x=1"),
            ("c", "http://h:1/a/c"),
            ("https://other/", "https://other/"),
            ("//other/x", "http://other/x"),
        ] {
            assert_eq!(base.join(location).expect("url").target(), want);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        for (text, want) in [
            ("prom:9090/x", "unsupported protocol scheme \"prom\""),
            ("ftp://h/x", "unsupported protocol scheme \"ftp\""),
            ("/x", "unsupported protocol scheme \"\""),
            ("http:///x", "http: no Host in request URL"),
        ] {
            let url = Url::parse(text).expect("url");
            assert_eq!(url.check_sendable(), Err(want.to_owned()), "{text}");
        }
        let error = Url::parse("127.0.0.1:9090/x").expect_err("no scheme");
        assert!(
            error.ends_with("first path segment in URL cannot contain colon"),
            "{error}"
        );
    }

    #[test]
    fn bad_urls_are_named() {
        for (text, want) in [
            ("http://h:x/", "invalid port \":x\" after host"),
            ("http://h/%zz", "invalid URL escape \"%zz\""),
            ("h:9090/x", ""),
        ] {
            match Url::parse(text) {
                Err(error) => assert!(!want.is_empty() && error.ends_with(want), "{error}"),
                Ok(url) => assert!(url.check_sendable().is_err(), "{text}"),
            }
        }
    }
}
