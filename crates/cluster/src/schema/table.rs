//! Owns the table of Kubernetes' built-in types: reads `types.txt`, which
//! `cargo xtask codegen` generates, once and on first use.
//!
//! Lines of the file: `G group/version/Kind type` names a kind, `V group/version` opens a
//! list of REST paths, `P path methods group/version/Kind` is one of them (methods: `g`et,
//! `c`reate, `u`pdate, `p`atch, `d`elete), `T type [m=atomic]` opens a type and each line
//! after it is a field: name, protobuf number, type (`[]` list, `{}` map) and attributes:
//! `!` required, `~` inlined in JSON, `-` protobuf only, `*` a pointer in Go, `+` printed by
//! Go even when zero, `z` never printed when zero, `p=` patch strategy, `k=` merge key, `l=`
//! list type, `K=` list map keys, `m=` map type, `d=` default in JSON.

use std::sync::OnceLock;

static TEXT: &str = include_str!("types.txt");

/// What one value (or one element of a list or map) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elem {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    /// A list of strings behind a message of its own (`ExtraValue`, `Verbs`).
    Strings,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    FieldsV1,
    /// Any JSON at all (`JSON`, `JSONSchemaPropsOrBool`, ...).
    Json,
    /// An object of any kind (`RawExtension`).
    Raw,
    /// Index into the table.
    Struct(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    Map,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub elem: Elem,
    /// Strategic merge: lists are merged, not replaced.
    pub merge: bool,
    /// Strategic merge: `retainKeys`.
    pub retain_keys: bool,
    pub merge_key: Option<&'static str>,
    pub list: ListKind,
    /// Keys of an associative list, separated by commas.
    pub list_keys: &'static str,
    pub atomic_map: bool,
    pub required: bool,
    pub default: Option<&'static str>,
    /// A protobuf message that JSON spreads into its parent.
    pub inline: bool,
    /// Not part of the JSON form.
    pub hidden: bool,
    /// A pointer in Go: its zero value counts as set.
    pub pointer: bool,
    /// Printed by Go even when zero.
    pub printed: bool,
    /// Left out by Go when zero, structs included.
    pub omit_zero: bool,
}

#[derive(Debug)]
pub(crate) struct Type {
    /// Short name, such as `core.v1.Container`.
    pub name: &'static str,
    pub atomic: bool,
    /// Sorted by name.
    pub fields: Vec<Field>,
}

impl Type {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let i = self.fields.binary_search_by(|f| f.name.cmp(name)).ok()?;
        Some(&self.fields[i]).filter(|f| !f.inline && !f.hidden)
    }

    /// The last part of the type's name, as Go prints it.
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

#[derive(Debug)]
pub(crate) struct RestPath {
    /// `apps/v1`, or `api/v1` for the core group.
    pub group_version: &'static str,
    pub path: &'static str,
    pub methods: &'static str,
    /// `group/version/Kind`.
    pub kind: &'static str,
}

pub(crate) struct Table {
    types: Vec<Type>,
    /// `(group/version/Kind, type)`, sorted.
    pub kinds: Vec<(&'static str, u32)>,
    pub paths: Vec<RestPath>,
}

impl Table {
    /// The one table of the process.
    pub fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::parse(TEXT))
    }

    pub fn ty(&self, index: u32) -> &Type {
        &self.types[index as usize]
    }

    pub fn index(&self, name: &str) -> Option<u32> {
        self.types
            .binary_search_by(|t| t.name.cmp(name))
            .ok()
            .map(|i| i as u32)
    }

    /// The type of a built-in kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<u32> {
        // Options are registered in every group version; they are one type.
        if matches!(
            kind,
            "DeleteOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions"
        ) {
            return self.index(&format!("meta.v1.{kind}"));
        }
        let wanted = format!("{group}/{version}/{kind}");
        let i = self
            .kinds
            .binary_search_by(|(k, _)| (*k).cmp(wanted.as_str()))
            .ok()?;
        Some(self.kinds[i].1)
    }

    fn parse(text: &'static str) -> Table {
        let mut types: Vec<Type> = Vec::with_capacity(700);
        let mut raw: Vec<&'static str> = Vec::with_capacity(4000);
        let mut kinds = Vec::new();
        let mut paths = Vec::new();
        let mut group_version = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("T ") {
                let (name, flags) = rest.split_once(' ').unwrap_or((rest, ""));
                let atomic = flags == "m=atomic";
                types.push(Type {
                    name,
                    atomic,
                    fields: Vec::new(),
                });
            } else if let Some(t) = types.last_mut() {
                let (field, ty) = parse_field(line);
                t.fields.push(field);
                raw.push(ty);
            } else if let Some((gvk, name)) =
                line.strip_prefix("G ").and_then(|l| l.split_once(' '))
            {
                kinds.push((gvk, name));
            } else if let Some(gv) = line.strip_prefix("V ") {
                group_version = gv;
            } else if let Some(rest) = line.strip_prefix("P ") {
                let mut words = rest.split(' ');
                let mut word = || words.next().unwrap_or("");
                paths.push(RestPath {
                    group_version,
                    path: word(),
                    methods: word(),
                    kind: word(),
                });
            }
        }
        let mut names = raw.into_iter();
        let elems: Vec<Elem> = types
            .iter()
            .flat_map(|t| &t.fields)
            .map(|_| names.next().unwrap_or(""))
            .map(|n| elem(n, &types))
            .collect();
        let mut elems = elems.into_iter();
        for field in types.iter_mut().flat_map(|t| &mut t.fields) {
            field.elem = elems.next().unwrap_or(Elem::Json);
        }
        let kinds = kinds
            .into_iter()
            .filter_map(|(gvk, name)| {
                let i = types.binary_search_by(|t| t.name.cmp(name)).ok()?;
                Some((gvk, i as u32))
            })
            .collect();
        Table {
            types,
            kinds,
            paths,
        }
    }
}

fn elem(name: &str, types: &[Type]) -> Elem {
    match name {
        "string" => Elem::String,
        "bool" => Elem::Bool,
        "int32" | "uint32" => Elem::Int32,
        "int64" | "uint64" => Elem::Int64,
        "double" => Elem::Double,
        "bytes" => Elem::Bytes,
        "authentication.v1.ExtraValue"
        | "authorization.v1.ExtraValue"
        | "certificates.v1.ExtraValue"
        | "authentication.v1.AttestationValue"
        | "meta.v1.Verbs" => Elem::Strings,
        "resource.Quantity" => Elem::Quantity,
        "intstr.IntOrString" => Elem::IntOrString,
        "meta.v1.Time" => Elem::Time,
        "meta.v1.MicroTime" => Elem::MicroTime,
        "meta.v1.Duration" => Elem::Duration,
        "meta.v1.FieldsV1" => Elem::FieldsV1,
        "runtime.RawExtension" => Elem::Raw,
        _ if name.starts_with("apiextensions.v1.JSON")
            && name != "apiextensions.v1.JSONSchemaProps" =>
        {
            Elem::Json
        }
        _ => match types.binary_search_by(|t| t.name.cmp(name)) {
            Ok(i) => Elem::Struct(i as u32),
            Err(_) => Elem::Json,
        },
    }
}

fn parse_field(line: &'static str) -> (Field, &'static str) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or("");
    let name = word();
    let number = word().parse().unwrap_or(0);
    let ty = word();
    let (shape, ty) = if let Some(t) = ty.strip_prefix("[]") {
        (Shape::List, t)
    } else if let Some(t) = ty.strip_prefix("{}") {
        (Shape::Map, t)
    } else {
        (Shape::One, ty)
    };
    let mut f = Field {
        name,
        number,
        shape,
        elem: Elem::Json,
        merge: false,
        retain_keys: false,
        merge_key: None,
        list: ListKind::Atomic,
        list_keys: "",
        atomic_map: false,
        required: false,
        default: None,
        inline: false,
        hidden: false,
        pointer: false,
        printed: false,
        omit_zero: false,
    };
    for attribute in words {
        match attribute.split_once('=') {
            None => match attribute {
                "!" => f.required = true,
                "~" => f.inline = true,
                "-" => f.hidden = true,
                "*" => f.pointer = true,
                "+" => f.printed = true,
                "z" => f.omit_zero = true,
                _ => {}
            },
            Some(("p", v)) => {
                f.merge = v.split(',').any(|s| s == "merge");
                f.retain_keys = v.split(',').any(|s| s == "retainKeys");
            }
            Some(("k", v)) => f.merge_key = Some(v),
            Some(("l", "set")) => f.list = ListKind::Set,
            Some(("l", "map")) => f.list = ListKind::Map,
            Some(("K", v)) => f.list_keys = v,
            Some(("m", v)) => f.atomic_map = v == "atomic",
            Some(("d", v)) => f.default = Some(v),
            Some(_) => {}
        }
    }
    (f, ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_containers_and_their_merge_keys() {
        let table = Table::get();
        let pod = table.ty(table.kind("", "v1", "Pod").unwrap());
        let Elem::Struct(spec) = pod.field("spec").unwrap().elem else {
            panic!()
        };
        let containers = table.ty(spec).field("containers").unwrap();
        assert_eq!(containers.merge_key, Some("name"));
        assert_eq!(containers.list, ListKind::Map);
        assert!(table.paths.iter().any(|p| {
            p.group_version == "apps/v1"
                && p.path == "namespaces/{namespace}/deployments/{name}"
                && p.methods.contains('p')
        }));
    }

    #[test]
    fn types_and_fields_are_sorted_for_binary_search() {
        let table = Table::get();
        assert!(table.types.is_sorted_by_key(|t| t.name));
        for t in &table.types {
            assert!(t.fields.is_sorted_by_key(|f| f.name), "{}", t.name);
        }
        assert!(table.kinds.is_sorted_by_key(|k| k.0));
    }
}
