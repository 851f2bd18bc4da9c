//! JSON pointers (RFC 6901).

/// One part of a pointer, escaped.
pub fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A field path as the API server writes it, `spec.triggers[0].metadata`, as a
/// pointer.
pub fn of_path(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split(['.', '[']) {
        let part = part.trim_end_matches(']').trim_matches('"');
        if !part.is_empty() {
            pointer.push('/');
            pointer.push_str(&token(part));
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_pointers() {
        assert_eq!(of_path("spec.a[0].b"), "/spec/a/0/b");
        assert_eq!(token("nvidia.com/gpu"), "nvidia.com~1gpu");
        assert_eq!(of_path(""), "");
    }
}
