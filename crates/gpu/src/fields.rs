//! The catalogue of fields: classic names (dcgm-exporter up to 4.8) and the
//! names and units of DCGM 4.7 (dcgm-exporter 4.9).

/// Which names and units a page uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// As every dashboard of today expects.
    #[default]
    Classic,
    /// As from dcgm-exporter 4.9 on.
    Dcgm47,
}

/// Prometheus' type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// May fall.
    Gauge,
    /// Only grows.
    Counter,
}

impl MetricKind {
    /// The word in a TYPE line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// One row of the catalogue.
#[derive(Debug)]
pub struct Info {
    /// The field.
    pub field: Field,
    /// Name up to 4.8.
    pub classic: &'static str,
    /// Name from 4.9 on.
    pub renamed: &'static str,
    /// What a classic value is multiplied with for the new unit.
    pub scale: f64,
    /// Type.
    pub kind: MetricKind,
    /// Whether the shipped set has it.
    pub default: bool,
    /// What it is, in classic units.
    pub help: &'static str,
}

/// The fields we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Field {
    /// `DCGM_FI_DEV_SM_CLOCK`.
    SmClock,
    /// `DCGM_FI_DEV_MEM_CLOCK`.
    MemClock,
    /// `DCGM_FI_DEV_MEMORY_TEMP`.
    MemoryTemp,
    /// `DCGM_FI_DEV_GPU_TEMP`.
    GpuTemp,
    /// `DCGM_FI_DEV_POWER_USAGE`.
    PowerUsage,
    /// `DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION`.
    Energy,
    /// `DCGM_FI_DEV_PCIE_REPLAY_COUNTER`.
    PcieReplay,
    /// `DCGM_FI_DEV_GPU_UTIL`.
    GpuUtil,
    /// `DCGM_FI_DEV_MEM_COPY_UTIL`.
    MemCopyUtil,
    /// `DCGM_FI_DEV_ENC_UTIL`.
    EncUtil,
    /// `DCGM_FI_DEV_DEC_UTIL`.
    DecUtil,
    /// `DCGM_FI_DEV_XID_ERRORS`.
    XidErrors,
    /// `DCGM_FI_DEV_FB_FREE`.
    FbFree,
    /// `DCGM_FI_DEV_FB_USED`.
    FbUsed,
    /// `DCGM_FI_DEV_FB_RESERVED`.
    FbReserved,
    /// `DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS`.
    UncorrectableRows,
    /// `DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS`.
    CorrectableRows,
    /// `DCGM_FI_DEV_ROW_REMAP_FAILURE`.
    RowRemapFailure,
    /// `DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL`.
    NvlinkBandwidth,
    /// `DCGM_FI_DEV_VGPU_LICENSE_STATUS`.
    VgpuLicense,
    /// `DCGM_FI_PROF_GR_ENGINE_ACTIVE`.
    GrEngineActive,
    /// `DCGM_FI_PROF_PIPE_TENSOR_ACTIVE`.
    TensorActive,
    /// `DCGM_FI_PROF_DRAM_ACTIVE`.
    DramActive,
    /// `DCGM_FI_PROF_PCIE_TX_BYTES`.
    PcieTx,
    /// `DCGM_FI_PROF_PCIE_RX_BYTES`.
    PcieRx,
    /// `DCGM_FI_PROF_SM_ACTIVE`.
    SmActive,
    /// `DCGM_FI_PROF_SM_OCCUPANCY`.
    SmOccupancy,
    /// `DCGM_FI_PROF_PIPE_FP64_ACTIVE`.
    Fp64Active,
    /// `DCGM_FI_PROF_PIPE_FP32_ACTIVE`.
    Fp32Active,
    /// `DCGM_FI_PROF_PIPE_FP16_ACTIVE`.
    Fp16Active,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = CATALOGUE.len();

    /// The field's row.
    pub fn info(self) -> &'static Info {
        &CATALOGUE[self as usize]
    }

    /// The field of a name, old or new.
    pub fn by_name(name: &str) -> Option<(Self, Names)> {
        let classic = CATALOGUE.iter().find(|i| i.classic == name);
        let renamed = || CATALOGUE.iter().find(|i| i.renamed == name);
        classic
            .map(|i| (i.field, Names::Classic))
            .or_else(|| renamed().map(|i| (i.field, Names::Dcgm47)))
    }
}

/// Every field, in the order of [`Field`].
#[rustfmt::skip]
pub const CATALOGUE: &[Info] = &[
    row(Field::SmClock, ["DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_SM_CLOCK_HERTZ"], 1e6, MetricKind::Gauge, true,
        "Clock of the streaming multiprocessors, MHz"),
    row(Field::MemClock, ["DCGM_FI_DEV_MEM_CLOCK", "DCGM_FI_DEV_MEMORY_CLOCK_HERTZ"], 1e6, MetricKind::Gauge, true,
        "Clock of the memory, MHz"),
    row(Field::MemoryTemp, ["DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS"], 1.0, MetricKind::Gauge, true,
        "Temperature of the memory, degrees Celsius"),
    row(Field::GpuTemp, ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS"], 1.0, MetricKind::Gauge, true,
        "Temperature of the GPU, degrees Celsius"),
    row(Field::PowerUsage, ["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS"], 1.0, MetricKind::Gauge, true,
        "Power drawn by the board, W"),
    row(Field::Energy, ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL"], 1e-3, MetricKind::Counter, true,
        "Energy drawn since the driver was loaded, mJ"),
    row(Field::PcieReplay, ["DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "DCGM_FI_DEV_PCIE_REPLAY_TOTAL"], 1.0, MetricKind::Counter, true,
        "Retries on the PCIe link"),
    row(Field::GpuUtil, ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO"], 0.01, MetricKind::Gauge, true,
        "Share of time with a kernel running, percent"),
    row(Field::MemCopyUtil, ["DCGM_FI_DEV_MEM_COPY_UTIL", "DCGM_FI_DEV_MEMORY_UTIL_RATIO"], 0.01, MetricKind::Gauge, true,
        "Share of time with memory traffic, percent"),
    row(Field::EncUtil, ["DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_ENC_UTIL_RATIO"], 0.01, MetricKind::Gauge, true,
        "Share of time the video encoder was busy, percent"),
    row(Field::DecUtil, ["DCGM_FI_DEV_DEC_UTIL", "DCGM_FI_DEV_DEC_UTIL_RATIO"], 0.01, MetricKind::Gauge, true,
        "Share of time the video decoder was busy, percent"),
    row(Field::XidErrors, ["DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR"], 1.0, MetricKind::Gauge, true,
        "Number of the last XID error, 0 if none"),
    row(Field::FbFree, ["DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_FREE_BYTES"], 1048576.0, MetricKind::Gauge, true,
        "Free framebuffer, MiB"),
    row(Field::FbUsed, ["DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_USED_BYTES"], 1048576.0, MetricKind::Gauge, true,
        "Used framebuffer, MiB"),
    row(Field::FbReserved, ["DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_FB_RESERVED_BYTES"], 1048576.0, MetricKind::Gauge, true,
        "Framebuffer kept by the driver, MiB"),
    row(Field::UncorrectableRows, ["DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL"], 1.0, MetricKind::Counter, true,
        "Memory rows remapped after uncorrectable errors"),
    row(Field::CorrectableRows, ["DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL"], 1.0, MetricKind::Counter, true,
        "Memory rows remapped after correctable errors"),
    row(Field::RowRemapFailure, ["DCGM_FI_DEV_ROW_REMAP_FAILURE", "DCGM_FI_DEV_ROW_REMAP_FAILED"], 1.0, MetricKind::Gauge, true,
        "Whether remapping a memory row failed"),
    row(Field::NvlinkBandwidth, ["DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND"], 1e6, MetricKind::Counter, true,
        "Traffic over all NVLink lanes, MB/s"),
    row(Field::VgpuLicense, ["DCGM_FI_DEV_VGPU_LICENSE_STATUS", "DCGM_FI_DEV_VGPU_LICENSE_STATUS"], 1.0, MetricKind::Gauge, true,
        "Whether the vGPU is licensed"),
    row(Field::GrEngineActive, ["DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO"], 1.0, MetricKind::Gauge, true,
        "Share of time the compute engine was busy"),
    row(Field::TensorActive, ["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_TENSOR_UTIL_RATIO"], 1.0, MetricKind::Gauge, true,
        "Share of cycles the tensor pipe was busy"),
    row(Field::DramActive, ["DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_DRAM_UTIL_RATIO"], 1.0, MetricKind::Gauge, true,
        "Share of cycles the memory interface was busy"),
    row(Field::PcieTx, ["DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_TX_BYTES"], 1.0, MetricKind::Gauge, true,
        "Bytes a second sent over PCIe, headers included"),
    row(Field::PcieRx, ["DCGM_FI_PROF_PCIE_RX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES"], 1.0, MetricKind::Gauge, true,
        "Bytes a second received over PCIe, headers included"),
    row(Field::SmActive, ["DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE"], 1.0, MetricKind::Gauge, false,
        "Share of cycles a multiprocessor had a warp"),
    row(Field::SmOccupancy, ["DCGM_FI_PROF_SM_OCCUPANCY", "DCGM_FI_PROF_SM_OCCUPANCY"], 1.0, MetricKind::Gauge, false,
        "Resident warps as a share of what fits"),
    row(Field::Fp64Active, ["DCGM_FI_PROF_PIPE_FP64_ACTIVE", "DCGM_FI_PROF_PIPE_FP64_ACTIVE"], 1.0, MetricKind::Gauge, false,
        "Share of cycles the fp64 pipe was busy"),
    row(Field::Fp32Active, ["DCGM_FI_PROF_PIPE_FP32_ACTIVE", "DCGM_FI_PROF_PIPE_FP32_ACTIVE"], 1.0, MetricKind::Gauge, false,
        "Share of cycles the fp32 pipe was busy"),
    row(Field::Fp16Active, ["DCGM_FI_PROF_PIPE_FP16_ACTIVE", "DCGM_FI_PROF_PIPE_FP16_ACTIVE"], 1.0, MetricKind::Gauge, false,
        "Share of cycles the fp16 pipe was busy"),
];

const fn row(
    field: Field,
    names: [&'static str; 2],
    scale: f64,
    kind: MetricKind,
    default: bool,
    help: &'static str,
) -> Info {
    Info {
        field,
        classic: names[0],
        renamed: names[1],
        scale,
        kind,
        default,
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_fields_and_the_shipped_set_is_whole() {
        for (at, info) in CATALOGUE.iter().enumerate() {
            assert_eq!(info.field as usize, at, "{}", info.classic);
        }
        assert_eq!(CATALOGUE.iter().filter(|i| i.default).count(), 25);
        assert_eq!(
            CATALOGUE
                .iter()
                .filter(|i| i.default && i.classic != i.renamed)
                .count(),
            22
        );
        assert_eq!(CATALOGUE.iter().filter(|i| i.scale != 1.0).count(), 11);
    }
}
