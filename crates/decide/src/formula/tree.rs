//! The syntax tree of a formula.

/// A node with the place that errors about it name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: usize,
    pub what: What,
    /// Nodes on the longest way down, this one included.
    pub height: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    /// `#`, `#acc`, `#index`: the element a predicate looks at.
    Pointer(String),
    Unary(String, Box<Node>),
    Binary(String, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    Member {
        of: Box<Node>,
        key: Box<Node>,
        optional: bool,
        method: bool,
    },
    Slice(Box<Node>, Option<Box<Node>>, Option<Box<Node>>),
    /// What an optional member cuts short.
    Chain(Box<Node>),
    Call(Box<Node>, Vec<Node>),
    Builtin(String, Vec<Node>),
    Predicate(Box<Node>),
    Array(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Let(String, Box<Node>, Box<Node>),
    Sequence(Vec<Node>),
}

impl Node {
    /// A node over its children.
    pub fn new(at: usize, what: What) -> Self {
        let mut node = Self {
            at,
            what,
            height: 0,
        };
        let below = node.children().into_iter().map(|child| child.height);
        node.height = 1 + below.max().unwrap_or(0);
        node
    }

    /// The nodes directly below.
    pub fn children(&self) -> Vec<&Node> {
        match &self.what {
            What::Nil
            | What::Bool(_)
            | What::Int(_)
            | What::Float(_)
            | What::Text(_)
            | What::Name(_)
            | What::Pointer(_) => Vec::new(),
            What::Unary(_, a) | What::Chain(a) | What::Predicate(a) => vec![a],
            What::Binary(_, a, b) | What::Let(_, a, b) => vec![a, b],
            What::Choice(a, b, c) => vec![a, b, c],
            What::Member { of, key, .. } => vec![of, key],
            What::Slice(a, from, to) => {
                let ends = [from, to].into_iter().flatten();
                std::iter::once(a).chain(ends).map(|node| &**node).collect()
            }
            What::Call(callee, nodes) => std::iter::once(&**callee).chain(nodes).collect(),
            What::Builtin(_, nodes) | What::Array(nodes) | What::Sequence(nodes) => {
                nodes.iter().collect()
            }
            What::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        }
    }

    /// How much a copy of the tree is: its nodes, and its texts by length.
    pub fn size(&self) -> usize {
        let text = match &self.what {
            What::Text(text) | What::Name(text) => text.len() / 16,
            _ => 0,
        };
        1 + text + self.children().into_iter().map(Node::size).sum::<usize>()
    }
}
