//! Types as the checker knows them.

use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Not known before the formula runs.
    Any,
    Nil,
    Bool,
    Int,
    Float,
    Text,
    Array(Box<Type>),
    /// A map with texts as keys.
    Map,
    /// What grouping gives: arrays by any key.
    Table,
    Env,
    Time,
    Duration,
    Zone,
    /// With what a call returns, where that is known.
    Function(Option<Box<Type>>),
}

impl Type {
    pub fn array(element: Type) -> Type {
        Type::Array(Box::new(element))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Float)
    }

    /// Whether both are of the same kind, whatever they contain.
    pub fn same_kind(&self, other: &Type) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            || matches!(
                (self, other),
                (
                    Type::Map | Type::Table | Type::Env,
                    Type::Map | Type::Table | Type::Env
                )
            )
    }

    /// Whether a value of this type can stand where the other is wanted.
    pub fn fits(&self, other: &Type) -> bool {
        *other == Type::Any || self == other || (self.same_kind(other) && self.is_array())
    }

    fn is_array(&self) -> bool {
        matches!(self, Type::Array(_))
    }

    /// Whether the two may be compared for equality.
    pub fn comparable(&self, other: &Type) -> bool {
        let open = |one: &Type| matches!(one, Type::Any | Type::Nil);
        open(self)
            || open(other)
            || self.same_kind(other)
            || (self.is_number() && other.is_number())
    }
}

/// The type of a sum of two numbers; `None` where one is no number.
pub(super) fn number_of(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Int, Type::Int) => Some(Type::Int),
        (a, b) if a.is_number() && b.is_number() => Some(Type::Float),
        _ => None,
    }
}

/// Go's names of the types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Any => "interface {}",
            Type::Nil => "nil",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Float => "float64",
            Type::Text => "string",
            Type::Array(_) => "[]interface {}",
            Type::Map => "map[string]interface {}",
            Type::Table => "map[interface {}][]interface {}",
            Type::Env => "map[string]float64",
            Type::Time => "time.Time",
            Type::Duration => "time.Duration",
            Type::Zone => "*time.Location",
            Type::Function(_) => "func(...interface {}) (interface {}, error)",
        })
    }
}
