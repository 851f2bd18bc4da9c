//! A GPU's identity and limits.

/// One GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Index on its node.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// Model as the driver names it, e.g. `NVIDIA H100 NVL`.
    pub model: String,
    /// `00000000:0A:00.0`.
    pub pci_bus_id: String,
    /// Driver version.
    pub driver: String,
    /// Framebuffer in MiB.
    pub memory_mib: i64,
    /// Part of it that the driver keeps, in MiB.
    pub reserved_mib: i64,
    /// Draw without work, W.
    pub idle_watts: f64,
    /// Draw at full work, W.
    pub full_watts: f64,
    /// SM clock without work and at full work, MHz.
    pub sm_clock_mhz: (i64, i64),
    /// Memory clock, MHz.
    pub memory_clock_mhz: i64,
}

/// Draw, clocks of a model: (part of the name, idle W, full W, full SM MHz, memory MHz).
const MODELS: &[(&str, f64, f64, i64, i64)] = &[
    ("H100 NVL", 62.0, 372.0, 1785, 2619),
    ("H100", 68.0, 655.0, 1980, 2619),
    ("H200", 74.0, 665.0, 1980, 3201),
    ("B200", 140.0, 940.0, 1965, 3996),
    ("A100", 52.0, 368.0, 1410, 1593),
    ("A10", 22.0, 142.0, 1695, 6251),
    ("L40", 34.0, 282.0, 2490, 9001),
    ("L4", 16.0, 68.0, 2040, 6251),
    ("T4", 10.0, 66.0, 1590, 5001),
    ("V100", 38.0, 238.0, 1380, 877),
];

impl Device {
    /// A simulated GPU: the same node and index give the same identity.
    pub fn simulated(node: &str, index: u32, model: &str, memory_gib: u32) -> Self {
        let known = MODELS.iter().find(|(name, ..)| model.contains(name));
        let (_, idle_watts, full_watts, sm, memory) =
            known.copied().unwrap_or(("", 50.0, 300.0, 1500, 2000));
        let (a, b) = (hash(node, index, 1), hash(node, index, 2));
        let uuid = format!(
            "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            0x4000 | a & 0x0fff,
            0x8000 | b >> 48 & 0x3fff,
            b & 0xffff_ffff_ffff
        );
        // Drivers show a little less than the nominal memory.
        let memory_mib = i64::from(memory_gib) * 1024 - i64::from(memory_gib) * 1024 / 200;
        Self {
            index,
            uuid,
            model: model.to_owned(),
            pci_bus_id: format!("{:08X}:00:00.0", index + 1),
            driver: "580.95.05".to_owned(),
            memory_mib,
            reserved_mib: memory_mib / 150,
            idle_watts,
            full_watts,
            sm_clock_mhz: (345.min(sm), sm),
            memory_clock_mhz: memory,
        }
    }
}

/// FNV-1a with a last mixing step: spread enough for identifiers.
fn hash(node: &str, index: u32, salt: u8) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for byte in node.bytes().chain(index.to_le_bytes()).chain([salt]) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h = (h ^ (h >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_identities_are_stable_and_distinct() {
        let one = Device::simulated("node-a", 0, "NVIDIA H100 NVL", 94);
        assert_eq!(one, Device::simulated("node-a", 0, "NVIDIA H100 NVL", 94));
        assert_ne!(
            one.uuid,
            Device::simulated("node-a", 1, "NVIDIA H100 NVL", 94).uuid
        );
        assert_ne!(
            one.uuid,
            Device::simulated("node-b", 0, "NVIDIA H100 NVL", 94).uuid
        );
        assert_eq!(
            (one.uuid.len(), one.pci_bus_id.as_str()),
            (40, "00000001:00:00.0")
        );
        assert_eq!(one.full_watts, 372.0);
    }
}
