//! Virtual machine sizes: what they hold and what an hour costs.
//!
//! Prices are US dollars, Linux, pay as you go, eastus (June 2026), or the
//! region named in the node-pool guide where eastus does not have the size.

/// A virtual machine size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sku {
    /// Name, e.g. `Standard_NC40ads_H100_v5`.
    pub name: &'static str,
    /// vCPUs.
    pub cpus: u32,
    /// GiB.
    pub memory: u32,
    /// GPUs.
    pub gpus: u32,
    /// Model as the driver names it, "" without GPU.
    pub gpu_model: &'static str,
    /// Memory of one GPU in GiB.
    pub gpu_memory: u32,
    /// US dollars an hour.
    pub price: f64,
}

const fn sku(
    name: &'static str,
    (cpus, memory): (u32, u32),
    (gpus, gpu_model, gpu_memory): (u32, &'static str, u32),
    price: f64,
) -> Sku {
    Sku {
        name,
        cpus,
        memory,
        gpus,
        gpu_model,
        gpu_memory,
        price,
    }
}

const NONE: (u32, &str, u32) = (0, "", 0);
const T4: &str = "Tesla T4";
const A10: &str = "NVIDIA A10";
const V100: &str = "Tesla V100-PCIE-16GB";
const A100: &str = "NVIDIA A100 80GB PCIe";
const H100_NVL: &str = "NVIDIA H100 NVL";
const H100: &str = "NVIDIA H100 80GB HBM3";

/// The sizes known, CPU ones first.
pub const SKUS: &[Sku] = &[
    sku("Standard_D2s_v5", (2, 8), NONE, 0.096),
    sku("Standard_D4s_v5", (4, 16), NONE, 0.192),
    sku("Standard_D8s_v5", (8, 32), NONE, 0.384),
    sku("Standard_D16s_v5", (16, 64), NONE, 0.768),
    sku("Standard_D32s_v5", (32, 128), NONE, 1.536),
    sku("Standard_D4ds_v5", (4, 16), NONE, 0.226),
    sku("Standard_D8ds_v5", (8, 32), NONE, 0.452),
    sku("Standard_D16ds_v5", (16, 64), NONE, 0.904),
    sku("Standard_NC4as_T4_v3", (4, 28), (1, T4, 16), 0.526),
    sku("Standard_NC8as_T4_v3", (8, 56), (1, T4, 16), 0.752),
    sku("Standard_NC16as_T4_v3", (16, 110), (1, T4, 16), 1.204),
    sku("Standard_NC64as_T4_v3", (64, 440), (4, T4, 16), 4.352),
    sku(
        "Standard_NV6ads_A10_v5",
        (6, 55),
        (1, "NVIDIA A10-4Q", 4),
        0.454,
    ),
    sku(
        "Standard_NV12ads_A10_v5",
        (12, 110),
        (1, "NVIDIA A10-8Q", 8),
        0.908,
    ),
    sku(
        "Standard_NV18ads_A10_v5",
        (18, 220),
        (1, "NVIDIA A10-12Q", 12),
        1.60,
    ),
    sku("Standard_NV36ads_A10_v5", (36, 440), (1, A10, 24), 3.20),
    sku("Standard_NV36adms_A10_v5", (36, 880), (1, A10, 24), 4.52),
    sku("Standard_NV72ads_A10_v5", (72, 880), (2, A10, 24), 6.52),
    sku("Standard_NC8ads_A10_v4", (8, 55), (1, A10, 24), 1.10),
    sku("Standard_NC16ads_A10_v4", (16, 110), (1, A10, 24), 2.20),
    sku("Standard_NC32ads_A10_v4", (32, 220), (2, A10, 24), 4.40),
    sku("Standard_NC6s_v3", (6, 112), (1, V100, 16), 3.06),
    sku("Standard_NC12s_v3", (12, 224), (2, V100, 16), 6.12),
    sku("Standard_NC24s_v3", (24, 448), (4, V100, 16), 12.24),
    sku(
        "Standard_ND40rs_v2",
        (40, 672),
        (8, "Tesla V100-SXM2-32GB", 32),
        22.032,
    ),
    sku("Standard_NC24ads_A100_v4", (24, 220), (1, A100, 80), 3.673),
    sku("Standard_NC48ads_A100_v4", (48, 440), (2, A100, 80), 7.346),
    sku("Standard_NC96ads_A100_v4", (96, 880), (4, A100, 80), 14.692),
    sku(
        "Standard_ND96asr_v4",
        (96, 900),
        (8, "NVIDIA A100-SXM4-40GB", 40),
        27.197,
    ),
    sku(
        "Standard_ND96amsr_A100_v4",
        (96, 1900),
        (8, "NVIDIA A100-SXM4-80GB", 80),
        32.77,
    ),
    sku(
        "Standard_NC40ads_H100_v5",
        (40, 320),
        (1, H100_NVL, 94),
        6.98,
    ),
    sku(
        "Standard_NC80adis_H100_v5",
        (80, 640),
        (2, H100_NVL, 94),
        13.96,
    ),
    sku(
        "Standard_NCC40ads_H100_v5",
        (40, 320),
        (1, H100_NVL, 94),
        8.82,
    ),
    sku("Standard_ND96isr_H100_v5", (96, 1900), (8, H100, 80), 98.32),
    sku("Standard_ND96is_H100_v5", (96, 1900), (8, H100, 80), 88.488),
    sku(
        "Standard_ND96isr_H200_v5",
        (96, 1850),
        (8, "NVIDIA H200", 141),
        84.80,
    ),
    sku(
        "Standard_ND96isr_MI300X_v5",
        (96, 1850),
        (8, "AMD Instinct MI300X", 192),
        48.00,
    ),
    sku(
        "Standard_ND128isr_NDR_GB200_v6",
        (128, 900),
        (4, "NVIDIA GB200", 189),
        108.16,
    ),
];

impl Sku {
    /// Finds a size by name; the case of letters does not matter, as in Azure.
    pub fn find(name: &str) -> Option<&'static Self> {
        SKUS.iter().find(|s| s.name.eq_ignore_ascii_case(name))
    }
}
