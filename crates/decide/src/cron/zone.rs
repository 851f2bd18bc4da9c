//! Time zones by name, as Go finds them: the spelling counts.
//!
//! The rules come with the program. The machine's own would make the same
//! input give different answers on different machines.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

static RULES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A name that is no time zone. The text is Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownZone {
    /// A name that could be a path out of the zone folder.
    #[error("time: invalid location name")]
    Invalid,
    /// No zone of this name.
    #[error("unknown time zone {0}")]
    Unknown(String),
}

/// The time zone of this name; nothing, `UTC` and `Local` are UTC, which is
/// what a container's local time is.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err(UnknownZone::Invalid);
    }
    let unknown = || UnknownZone::Unknown(name.to_owned());
    // jiff finds a zone in any spelling, files are found in theirs.
    let found = RULES.get(name).map_err(|_| unknown())?;
    if found.iana_name() == Some(name) {
        Ok(found)
    } else {
        Err(unknown())
    }
}
