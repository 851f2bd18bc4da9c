//! In which form an answer is wanted.

use crate::status::Status;

/// The form of an answer about objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Plain,
    /// A table of cells; the version is 1 for v1, 0 for v1beta1.
    Table(&'static str),
    /// Metadata only.
    Partial(&'static str),
}

/// Reads an Accept header; the first form that can be given wins.
pub(crate) fn form(accept: &str) -> Result<Form, Status> {
    if accept.trim().is_empty() {
        return Ok(Form::Plain);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let json = matches!(
            media,
            "application/json" | "application/*" | "*/*" | "application/yaml" | ""
        );
        if !json {
            continue;
        }
        let (mut kind, mut group, mut version) = ("", "", "");
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("as", v)) => kind = v,
                Some(("g", v)) => group = v,
                Some(("v", v)) => version = v,
                _ => {}
            }
        }
        let version = match version {
            "v1" => "v1",
            "v1beta1" => "v1beta1",
            _ => "",
        };
        match kind {
            "" => return Ok(Form::Plain),
            "Table" if group == "meta.k8s.io" && !version.is_empty() => {
                return Ok(Form::Table(version));
            }
            "PartialObjectMetadata" | "PartialObjectMetadataList"
                if group == "meta.k8s.io" && !version.is_empty() =>
            {
                return Ok(Form::Partial(version));
            }
            _ => {}
        }
    }
    // A client that asks for protobuf alone can still read JSON by its content type.
    if accept.contains("application/vnd.kubernetes.protobuf") {
        return Ok(Form::Plain);
    }
    Err(Status::new(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/yaml",
    ))
}
