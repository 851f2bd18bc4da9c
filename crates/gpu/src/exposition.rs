//! The text of a page, in the form and label order of dcgm-exporter.

use std::fmt::Write as _;

use crate::counters::{Counter, Counters};
use crate::fields::Names;
use crate::{Device, GpuSample, Value};

/// Content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Choices about labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// `hostname` (4.8.3 and later) or `Hostname` (before); none leaves it out.
    pub hostname_label: Option<&'static str>,
    /// `uuid` instead of `UUID`.
    pub old_namespace: bool,
    /// Put `-` for blanks in model names.
    pub dashed_models: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            hostname_label: Some("hostname"),
            old_namespace: false,
            dashed_models: false,
        }
    }
}

/// A sample and the label block of its series.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The values.
    pub sample: &'a GpuSample,
    /// What stands between the braces, as [`label_block`] makes it.
    pub labels: &'a str,
}

/// The labels of one GPU's series: the device's, the host's, then `more` in
/// the order given (labels of the counters file, then of pods and owners).
pub fn label_block(
    device: &Device,
    hostname: &str,
    driver_label: Option<&str>,
    style: &Style,
    more: &[(&str, &str)],
) -> String {
    let mut out = String::with_capacity(320);
    label(&mut out, "gpu", &device.index.to_string());
    label(
        &mut out,
        if style.old_namespace { "uuid" } else { "UUID" },
        &device.uuid,
    );
    label(&mut out, "pci_bus_id", &device.pci_bus_id);
    label(&mut out, "device", &format!("nvidia{}", device.index));
    if style.dashed_models {
        label(&mut out, "modelName", &device.model.replace(' ', "-"));
    } else {
        label(&mut out, "modelName", &device.model);
    }
    if let Some(name) = style.hostname_label {
        label(&mut out, name, hostname);
    }
    if let Some(name) = driver_label {
        label(&mut out, name, &device.driver);
    }
    for (name, value) in more {
        label(&mut out, name, value);
    }
    out
}

fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends the families of a page. A family without a value is left out.
pub fn render(counters: &Counters, series: &[Series<'_>], out: &mut String) {
    for counter in &counters.rows {
        let mut started = false;
        for one in series {
            let Some(value) = one.sample.get(counter.field) else {
                continue;
            };
            if matches!(value, Value::Float(v) if !v.is_finite()) {
                continue;
            }
            if !started {
                family(out, &counter.name, counter.kind.as_str(), &counter.help);
                started = true;
            }
            sample(out, counter, one.labels, value);
        }
    }
}

/// Appends a family's HELP and TYPE lines.
pub fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    for c in help.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(kind);
    out.push('\n');
}

/// Appends the start of a sample line, up to the value.
pub fn start(out: &mut String, name: &str, labels: &str) {
    out.push_str(name);
    out.push('{');
    out.push_str(labels);
    out.push_str("} ");
}

fn sample(out: &mut String, counter: &Counter, labels: &str, value: Value) {
    start(out, &counter.name, labels);
    let scale = match counter.names {
        Names::Classic => 1.0,
        Names::Dcgm47 => counter.field.info().scale,
    };
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Int(value) if scale == 1.0 => writeln!(out, "{value}"),
        Value::Int(value) if scale > 1.0 => writeln!(out, "{}", value as f64 * scale),
        value => writeln!(out, "{:.6}", value.as_f64() * scale),
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Field;

    fn sample() -> GpuSample {
        let device = Device::simulated("node-a", 0, "NVIDIA H100 NVL", 94);
        let mut sample = GpuSample::new(Arc::new(device), jiff::Timestamp::UNIX_EPOCH);
        sample.set(Field::GpuUtil, Value::Int(55));
        sample.set(Field::SmClock, Value::Int(1785));
        sample.set(Field::PowerUsage, Value::Float(310.25));
        sample.set(Field::TensorActive, Value::Float(f64::NAN));
        sample
    }

    #[test]
    fn a_page_reads_as_dcgm_exporters() {
        let sample = sample();
        let counters = Counters::shipped(Names::Classic);
        let more = [
            ("container", "c"),
            ("namespace", "default"),
            ("pod", "a\"b"),
        ];
        let style = Style::default();
        let labels = label_block(&sample.device, "n", counters.driver_label, &style, &more);
        let mut page = String::new();
        render(
            &counters,
            &[Series {
                sample: &sample,
                labels: &labels,
            }],
            &mut page,
        );
        let uuid = &sample.device.uuid;
        let want = format!(
            "# HELP DCGM_FI_DEV_GPU_UTIL Share of time with a kernel running, percent\n\
             # TYPE DCGM_FI_DEV_GPU_UTIL gauge\n\
             DCGM_FI_DEV_GPU_UTIL{{gpu=\"0\",UUID=\"{uuid}\",pci_bus_id=\"00000001:00:00.0\",\
             device=\"nvidia0\",modelName=\"NVIDIA H100 NVL\",hostname=\"n\",\
             DCGM_FI_DRIVER_VERSION=\"580.95.05\",container=\"c\",namespace=\"default\",\
             pod=\"a\\\"b\"}} 55\n"
        );
        assert!(page.starts_with(&want), "{page}");
        assert!(page.contains("} 310.250000\n"), "{page}");
        assert!(
            !page.contains("TENSOR"),
            "a value that is no number is left out"
        );
        assert_eq!(page.lines().count(), 9);
    }

    #[test]
    fn new_names_come_with_their_units() {
        let sample = sample();
        let counters = Counters::shipped(Names::Dcgm47);
        let mut page = String::new();
        render(
            &counters,
            &[Series {
                sample: &sample,
                labels: "",
            }],
            &mut page,
        );
        assert!(
            page.contains("\nDCGM_FI_DEV_GPU_UTIL_RATIO{} 0.550000\n"),
            "{page}"
        );
        assert!(
            page.contains("\nDCGM_FI_DEV_SM_CLOCK_HERTZ{} 1785000000\n"),
            "{page}"
        );
    }
}
