//! From tokens to a tree.

use super::builtins::{Argument, predicate_arguments};
use super::lex::{Kind, Token};
use super::tree::{Node, What};
use super::{Fault, builtins, number};

/// Deepest nesting, and longest chain of operators or members.
const MAX_DEPTH: usize = 300;

/// Highest tree; evaluation recurses as deep. A link of a chain makes up to
/// three nodes. Nesting alone would not bound it: a group of chains may be the
/// left end of the next chain, and so on.
const MAX_HEIGHT: usize = 3 * MAX_DEPTH;

/// Most nodes of a tree, as in the original, and so most tokens.
pub(super) const MAX_NODES: usize = 10_000;

/// How tightly an operator between two values binds.
fn precedence(operator: &str) -> Option<u32> {
    Some(match operator {
        "|" => 0,
        "or" | "||" => 10,
        "and" | "&&" => 15,
        "==" | "!=" | "<" | ">" | ">=" | "<=" | "in" | "matches" | "contains" | "startsWith"
        | "endsWith" => 20,
        ".." => 25,
        "+" | "-" => 30,
        "*" | "/" | "%" => 60,
        "**" | "^" => 100,
        "??" => 500,
        _ => return None,
    })
}

fn unary_precedence(operator: &str) -> Option<u32> {
    match operator {
        "not" | "!" => Some(50),
        "-" | "+" => Some(90),
        _ => None,
    }
}

fn compares(operator: &str) -> bool {
    matches!(operator, "<" | ">" | ">=" | "<=")
}

pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Nodes that stand in the tree twice.
    copied: usize,
    /// Predicates around the present place.
    predicates: usize,
    /// Names of the environment, which hide builtins.
    names: &'a [String],
}

type Parsed = Result<Node, Fault>;

fn node(at: usize, what: What) -> Node {
    Node::new(at, what)
}

/// Parses a whole formula.
pub(super) fn parse(tokens: &[Token], names: &[String]) -> Parsed {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        copied: 0,
        predicates: 0,
        names,
    };
    let root = parser.sequence()?;
    if parser.now().kind == Kind::End {
        Ok(root)
    } else {
        Err(parser.unexpected())
    }
}

/// What is said of more.
pub(super) fn too_large() -> Fault {
    Fault {
        text: "compilation failed: expression exceeds maximum allowed nodes".to_owned(),
        at: None,
    }
}

impl<'a> Parser<'a> {
    fn now(&self) -> &'a Token {
        // The last token is the end, which nothing goes beyond.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) {
        self.at += 1;
    }

    fn unexpected(&self) -> Fault {
        let token = self.now();
        Fault::new(format!("unexpected token {}", token.shown()), token.at)
    }

    fn error(&self, text: String) -> Fault {
        Fault::new(text, self.now().at)
    }

    fn expect(&mut self, kind: Kind, text: &str) -> Result<(), Fault> {
        if self.now().is(kind, text) {
            self.next();
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.too_deep(MAX_DEPTH)),
            false => Ok(()),
        }
    }

    fn too_deep(&self, most: usize) -> Fault {
        self.error(format!(
            "the formula is nested too deeply: more than {most} levels"
        ))
    }

    /// A second place for a node in the tree. Copies of copies double at each
    /// level, so they are counted.
    fn copy(&mut self, of: &Node) -> Parsed {
        self.copied += of.size();
        if self.copied > MAX_NODES {
            return Err(too_large());
        }
        Ok(of.clone())
    }

    fn sequence(&mut self) -> Parsed {
        let first = self.expression(0)?;
        let at = first.at;
        let mut nodes = vec![first];
        while self.now().operator(";") {
            self.next();
            if self.now().kind == Kind::End {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        if nodes.len() > 1 {
            return Ok(node(at, What::Sequence(nodes)));
        }
        nodes.pop().ok_or_else(|| self.unexpected())
    }

    fn expression(&mut self, least: u32) -> Parsed {
        let depth = self.depth;
        self.deeper()?;
        let parsed = self.expression_inside(least)?;
        self.depth = depth;
        match parsed.height > MAX_HEIGHT {
            true => Err(self.too_deep(MAX_HEIGHT)),
            false => Ok(parsed),
        }
    }

    fn expression_inside(&mut self, least: u32) -> Parsed {
        if least == 0 && self.now().operator("let") {
            return self.declaration();
        }
        if least == 0 && self.now().operator("if") {
            return self.condition();
        }
        let mut left = self.primary()?;
        let mut previous = String::new();
        while self.now().kind == Kind::Operator {
            let mut token = self.now();
            let mut negated = None;
            if token.operator("not") {
                let follows = self.tokens.get(self.at + 1);
                let Some(follows) = follows.filter(|t| {
                    matches!(
                        t.text.as_str(),
                        "in" | "matches" | "contains" | "startsWith" | "endsWith"
                    )
                }) else {
                    self.next();
                    return Err(self.unexpected());
                };
                if precedence(&follows.text).is_none_or(|p| p < least) {
                    break;
                }
                self.next();
                negated = Some(follows.at);
                token = follows;
            }
            let Some(binds) = precedence(&token.text).filter(|p| *p >= least) else {
                break;
            };
            self.deeper()?;
            self.next();
            let operator = token.text.clone();
            if operator == "|" {
                let name = self.now();
                if name.kind != Kind::Identifier {
                    return Err(self.unexpected());
                }
                self.next();
                left = self.call(name, vec![left], true)?;
            } else if previous == "??" && operator != "??" {
                let text = format!(
                    "Operator ({operator}) and coalesce expressions (??) cannot be mixed. Wrap \
                     either by parentheses."
                );
                return Err(Fault::new(text, token.at));
            } else if compares(&operator) {
                left = self.comparison(left, token, binds)?;
            } else {
                let right_first = matches!(operator.as_str(), "**" | "^");
                let right = self.expression(if right_first { binds } else { binds + 1 })?;
                let both = What::Binary(operator.clone(), Box::new(left), Box::new(right));
                left = node(token.at, both);
                if let Some(at) = negated {
                    left = node(at, What::Unary("not".to_owned(), Box::new(left)));
                }
            }
            previous = operator;
        }
        if least == 0 {
            left = self.choice(left)?;
        }
        Ok(left)
    }

    /// `a < b < c` is `a < b && b < c`.
    fn comparison(&mut self, left: Node, token: &Token, binds: u32) -> Parsed {
        let mut token = token.clone();
        let mut left = left;
        let mut root: Option<Node> = None;
        loop {
            self.deeper()?;
            let right = self.expression(binds + 1)?;
            let both = What::Binary(
                token.text.clone(),
                Box::new(left),
                Box::new(self.copy(&right)?),
            );
            let one = node(token.at, both);
            root = Some(match root {
                None => one,
                Some(root) => {
                    let both = What::Binary("&&".to_owned(), Box::new(root), Box::new(one));
                    node(token.at, both)
                }
            });
            left = right;
            token = self.now().clone();
            if !(token.kind == Kind::Operator && compares(&token.text)) {
                break;
            }
            self.next();
        }
        root.ok_or_else(|| self.unexpected())
    }

    fn declaration(&mut self) -> Parsed {
        self.next();
        let name = self.now();
        if name.kind != Kind::Identifier {
            return Err(self.unexpected());
        }
        self.next();
        self.expect(Kind::Operator, "=")?;
        let value = self.expression(0)?;
        self.expect(Kind::Operator, ";")?;
        let rest = self.sequence()?;
        let what = What::Let(name.text.clone(), Box::new(value), Box::new(rest));
        Ok(node(name.at, what))
    }

    fn condition(&mut self) -> Parsed {
        let at = self.now().at;
        self.deeper()?;
        self.next();
        let condition = self.expression(0)?;
        self.expect(Kind::Bracket, "{")?;
        let yes = self.sequence()?;
        self.expect(Kind::Bracket, "}")?;
        self.expect(Kind::Operator, "else")?;
        let no = if self.now().operator("if") {
            self.condition()?
        } else {
            self.expect(Kind::Bracket, "{")?;
            let no = self.sequence()?;
            self.expect(Kind::Bracket, "}")?;
            no
        };
        let what = What::Choice(Box::new(condition), Box::new(yes), Box::new(no));
        Ok(node(at, what))
    }

    fn choice(&mut self, condition: Node) -> Parsed {
        let mut left = condition;
        while self.now().operator("?") {
            self.deeper()?;
            self.next();
            let at = left.at;
            let yes = if self.now().operator(":") {
                self.copy(&left)?
            } else {
                self.expression(0)?
            };
            self.expect(Kind::Operator, ":")?;
            let no = self.expression(0)?;
            left = node(
                at,
                What::Choice(Box::new(left), Box::new(yes), Box::new(no)),
            );
        }
        Ok(left)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.now();
        if token.kind == Kind::Operator
            && let Some(binds) = unary_precedence(&token.text)
        {
            self.next();
            let inner = self.expression(binds)?;
            let what = What::Unary(token.text.clone(), Box::new(inner));
            return self.postfix(node(token.at, what));
        }
        if token.bracket("(") {
            self.next();
            let inner = self.sequence()?;
            self.expect(Kind::Bracket, ")")?;
            return self.postfix(inner);
        }
        if self.predicates > 0 && (token.operator("#") || token.operator(".")) {
            let mut name = String::new();
            if token.operator("#") {
                self.next();
                if self.now().kind == Kind::Identifier {
                    name.clone_from(&self.now().text);
                    self.next();
                }
            }
            return self.postfix(node(token.at, What::Pointer(name)));
        }
        if token.operator("::") {
            self.next();
            let name = self.now();
            if name.kind != Kind::Identifier {
                return Err(self.unexpected());
            }
            self.next();
            let call = self.call(name, Vec::new(), false)?;
            return self.postfix(call);
        }
        self.secondary()
    }

    fn secondary(&mut self) -> Parsed {
        let token = self.now();
        let what = match token.kind {
            Kind::Identifier => {
                self.next();
                match token.text.as_str() {
                    "true" => What::Bool(true),
                    "false" => What::Bool(false),
                    "nil" => What::Nil,
                    _ if self.now().bracket("(") => {
                        let call = self.call(token, Vec::new(), true)?;
                        return self.postfix(call);
                    }
                    name => What::Name(name.to_owned()),
                }
            }
            Kind::Number => {
                self.next();
                let what = number::literal(&token.text).map_err(|text| self.error(text))?;
                return Ok(node(token.at, what));
            }
            Kind::Text => {
                self.next();
                What::Text(token.text.clone())
            }
            Kind::Bracket if token.text == "[" => self.array()?,
            Kind::Bracket if token.text == "{" => self.map()?,
            _ => return Err(self.unexpected()),
        };
        self.postfix(node(token.at, what))
    }

    fn array(&mut self) -> Result<What, Fault> {
        self.next();
        let mut nodes = Vec::new();
        while !self.now().bracket("]") {
            if !nodes.is_empty() {
                self.expect(Kind::Operator, ",")?;
                if self.now().bracket("]") {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.expect(Kind::Bracket, "]")?;
        Ok(What::Array(nodes))
    }

    fn map(&mut self) -> Result<What, Fault> {
        self.next();
        let mut pairs = Vec::new();
        while !self.now().bracket("}") {
            if !pairs.is_empty() {
                self.expect(Kind::Operator, ",")?;
                if self.now().bracket("}") {
                    break;
                }
            }
            let token = self.now();
            let key = match token.kind {
                Kind::Number | Kind::Text | Kind::Identifier => {
                    self.next();
                    node(token.at, What::Text(token.text.clone()))
                }
                Kind::Bracket if token.text == "(" => self.expression(0)?,
                _ => {
                    return Err(self.error(format!(
                        "a map key must be a quoted string, a number, a identifier, or an \
                         expression enclosed in parentheses (unexpected token {})",
                        token.shown()
                    )));
                }
            };
            self.expect(Kind::Operator, ":")?;
            pairs.push((key, self.expression(0)?));
        }
        self.expect(Kind::Bracket, "}")?;
        Ok(What::Map(pairs))
    }

    fn call(&mut self, name: &Token, mut given: Vec<Node>, may_hide: bool) -> Parsed {
        let hidden = may_hide && self.names.contains(&name.text);
        let wanted = predicate_arguments(&name.text).filter(|_| !hidden);
        if let Some(wanted) = wanted {
            self.expect(Kind::Bracket, "(")?;
            for (n, argument) in wanted[given.len()..].iter().enumerate() {
                let optional = matches!(
                    argument,
                    Argument::OptionalExpression | Argument::OptionalPredicate
                );
                if self.now().bracket(")") {
                    if optional {
                        break;
                    }
                    let text =
                        format!("expected at least {} arguments", wanted.len() - given.len());
                    return Err(self.error(text));
                }
                if n > 0 {
                    self.expect(Kind::Operator, ",")?;
                }
                let argument = match argument {
                    Argument::Expression | Argument::OptionalExpression => self.expression(0)?,
                    Argument::Predicate | Argument::OptionalPredicate => self.predicate()?,
                };
                given.push(argument);
            }
            if self.now().operator(",") {
                self.next();
            }
            self.expect(Kind::Bracket, ")")?;
            return Ok(node(name.at, What::Builtin(name.text.clone(), given)));
        }
        let arguments = self.arguments(given)?;
        if !hidden && builtins::is_builtin(&name.text) {
            return Ok(node(name.at, What::Builtin(name.text.clone(), arguments)));
        }
        let callee = Box::new(node(name.at, What::Name(name.text.clone())));
        Ok(node(name.at, What::Call(callee, arguments)))
    }

    fn arguments(&mut self, mut given: Vec<Node>) -> Result<Vec<Node>, Fault> {
        let before = given.len();
        self.expect(Kind::Bracket, "(")?;
        while !self.now().bracket(")") {
            if given.len() > before {
                self.expect(Kind::Operator, ",")?;
                if self.now().bracket(")") {
                    break;
                }
            }
            given.push(self.expression(0)?);
        }
        self.expect(Kind::Bracket, ")")?;
        Ok(given)
    }

    fn predicate(&mut self) -> Parsed {
        let at = self.now().at;
        let braces = self.now().bracket("{");
        self.predicates += 1;
        let inner = if braces {
            self.next();
            let inner = self.sequence()?;
            self.expect(Kind::Bracket, "}")?;
            inner
        } else {
            let inner = self.expression(0)?;
            if self.now().operator(";") {
                return Err(self.error("wrap predicate with brackets { and }".to_owned()));
            }
            inner
        };
        self.predicates -= 1;
        Ok(node(at, What::Predicate(Box::new(inner))))
    }

    fn postfix(&mut self, from: Node) -> Parsed {
        let mut left = from;
        loop {
            let token = self.now();
            let optional = token.operator("?.");
            let next = self.tokens.get(self.at + 1);
            let bracket = if optional && next.is_some_and(|t| t.bracket("[")) {
                self.next();
                true
            } else {
                token.bracket("[")
            };
            if !bracket && !optional && !token.operator(".") {
                return Ok(left);
            }
            self.deeper()?;
            left = if bracket {
                self.index(left, optional)?
            } else {
                self.member(left, optional)?
            };
        }
    }

    fn member(&mut self, left: Node, optional: bool) -> Parsed {
        self.next();
        let name = self.now();
        self.next();
        let word = name.text.chars().all(|c| c.is_alphanumeric() || c == '_');
        if name.kind != Kind::Identifier && !(name.kind == Kind::Operator && word) {
            return Err(self.error("expected name".to_owned()));
        }
        let (chained, of) = match left.what {
            What::Chain(inner) => (true, inner),
            _ => (false, Box::new(left)),
        };
        let key = Box::new(node(name.at, What::Text(name.text.clone())));
        let method = self.now().bracket("(");
        let member = What::Member {
            of,
            key,
            optional,
            method,
        };
        let mut made = node(name.at, member);
        if method {
            let arguments = self.arguments(Vec::new())?;
            made = node(name.at, What::Call(Box::new(made), arguments));
        }
        Ok(chain(made, chained || optional))
    }

    fn index(&mut self, left: Node, optional: bool) -> Parsed {
        let at = self.now().at;
        self.next();
        let from = if self.now().operator(":") {
            None
        } else {
            Some(Box::new(self.expression(0)?))
        };
        let made = match from {
            Some(key) if !self.now().operator(":") => {
                let member = What::Member {
                    of: Box::new(left),
                    key,
                    optional,
                    method: false,
                };
                chain(node(at, member), optional)
            }
            from => {
                self.next();
                let to = if self.now().bracket("]") {
                    None
                } else {
                    Some(Box::new(self.expression(0)?))
                };
                node(at, What::Slice(Box::new(left), from, to))
            }
        };
        self.expect(Kind::Bracket, "]")?;
        Ok(made)
    }
}

fn chain(made: Node, chained: bool) -> Node {
    if chained {
        node(made.at, What::Chain(Box::new(made)))
    } else {
        made
    }
}
