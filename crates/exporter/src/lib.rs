//! The page of one GPU node: dcgm-exporter's families, attributed to pods, and
//! two things it lacks: the pod's owner as labels and the age of the samples.

mod owner;

use std::fmt::Write as _;

use gpu::exposition::{self, Series, Style};
use gpu::fields::Names;
use gpu::{Counters, GpuSample, Source};
use jiff::Timestamp;

pub use gpu::exposition::CONTENT_TYPE;
pub use owner::{Attribution, Owner};

/// Name of the family with the samples' age.
pub const AGE: &str = "rheostat_gpu_sample_age_seconds";

/// How a page looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The families.
    pub counters: Counters,
    /// The device labels.
    pub style: Style,
    /// Labels of the pods' owners (`deployment`, `workload_kind`, `workload_name`).
    pub owner_labels: bool,
    /// The age family.
    pub sample_age: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            counters: Counters::shipped(Names::Classic),
            style: Style::default(),
            owner_labels: true,
            sample_age: true,
        }
    }
}

/// The exporter of one node.
pub struct Exporter<S> {
    node: String,
    source: S,
    options: Options,
    samples: Vec<GpuSample>,
    /// By GPU index: who it works for, and the labels that follow from it.
    attributions: Vec<Option<Attribution>>,
    blocks: Vec<String>,
    page: String,
}

impl<S: Source> Exporter<S> {
    /// An exporter whose GPUs work for nobody yet.
    pub fn new(node: &str, source: S, options: Options) -> Self {
        let count = source.devices().len();
        let mut exporter = Self {
            node: node.to_owned(),
            source,
            options,
            samples: Vec::new(),
            attributions: vec![None; count],
            blocks: vec![String::new(); count],
            page: String::new(),
        };
        for index in 0..count {
            exporter.write_block(index);
        }
        exporter
    }

    /// The source of the samples.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The source, to steer a simulated one.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Says for whom a GPU works. Cheap when nothing changes.
    pub fn attribute(&mut self, index: usize, attribution: Option<Attribution>) {
        if let Some(current) = self.attributions.get_mut(index)
            && *current != attribution
        {
            *current = attribution;
            self.write_block(index);
        }
    }

    /// For whom a GPU works.
    pub fn attribution(&self, index: usize) -> Option<&Attribution> {
        self.attributions.get(index)?.as_ref()
    }

    /// Reads every GPU.
    pub fn sample(&mut self, now: Timestamp) {
        self.source.sample(now, &mut self.samples);
    }

    /// The page as of the last sample; empty before the first.
    pub fn page(&mut self, now: Timestamp) -> &str {
        self.page.clear();
        let series = self.samples.iter().filter_map(|sample| {
            let labels = self.blocks.get(sample.device.index as usize)?;
            Some(Series { sample, labels })
        });
        let series: Vec<_> = series.collect();
        exposition::render(&self.options.counters, &series, &mut self.page);
        if self.options.sample_age && !series.is_empty() {
            exposition::family(
                &mut self.page,
                AGE,
                "gauge",
                "Age of the GPU's samples on this page",
            );
            for one in &series {
                exposition::start(&mut self.page, AGE, one.labels);
                let age = now.duration_since(one.sample.taken).as_secs_f64().max(0.0);
                // Writing to a String cannot fail.
                let _ = writeln!(self.page, "{age:.3}");
            }
        }
        &self.page
    }

    fn write_block(&mut self, index: usize) {
        let Some(device) = self.source.devices().get(index) else {
            return;
        };
        let options = &self.options;
        let labels = match &self.attributions[index] {
            Some(attribution) => attribution.labels(options.owner_labels),
            None => Vec::new(),
        };
        self.blocks[index] = exposition::label_block(
            device,
            &self.node,
            options.counters.driver_label,
            &options.style,
            &labels,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::SimulatedGpus;
    use gpu::simulated::Work;
    use jiff::ToSpan as _;

    fn exporter(count: u32) -> Exporter<SimulatedGpus> {
        let gpus = SimulatedGpus::new("node-a", count, "NVIDIA H100 NVL", 94);
        Exporter::new("node-a", gpus, Options::default())
    }

    fn attribution() -> Attribution {
        Attribution {
            namespace: "default".to_owned(),
            pod: "my-gpu-workload-5d4f8-x2x9k".to_owned(),
            container: "mnist".to_owned(),
            owner: Some(Owner {
                kind: "Deployment".into(),
                name: "my-gpu-workload".into(),
            }),
        }
    }

    #[test]
    fn the_articles_selector_finds_the_gpu_that_works_for_the_deployment() {
        let start = Timestamp::UNIX_EPOCH;
        let mut exporter = exporter(2);
        exporter.attribute(1, Some(attribution()));
        exporter.source_mut().set(
            1,
            Work {
                utilization: 80.0,
                memory: 0.9,
            },
        );
        exporter.sample(start);
        let page = exporter.page(start + 500.milliseconds()).to_owned();
        let found: Vec<_> = page
            .lines()
            .filter(|l| l.starts_with("DCGM_FI_DEV_GPU_UTIL{"))
            .filter(|l| l.contains(",deployment=\"my-gpu-workload\""))
            .collect();
        assert_eq!(found.len(), 1, "{page}");
        assert!(found[0].ends_with("} 80"), "{}", found[0]);
        let labels = "container=\"mnist\",namespace=\"default\",pod=\"my-gpu-workload-5d4f8-x2x9k\",\
                      deployment=\"my-gpu-workload\",workload_kind=\"Deployment\",\
                      workload_name=\"my-gpu-workload\"}";
        assert!(found[0].contains(labels), "{}", found[0]);
        let age: Vec<_> = page.lines().filter(|l| l.starts_with(AGE)).collect();
        assert_eq!(age.len(), 2);
        assert!(age[0].ends_with("} 0.500"), "{}", age[0]);
    }

    #[test]
    fn a_gpu_without_a_pod_has_no_pod_labels() {
        let mut exporter = exporter(1);
        exporter.attribute(0, Some(attribution()));
        exporter.attribute(0, None);
        exporter.sample(Timestamp::UNIX_EPOCH);
        let page = exporter.page(Timestamp::UNIX_EPOCH);
        assert!(page.contains("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\""), "{page}");
        assert!(
            !page.contains("pod=") && !page.contains("deployment="),
            "{page}"
        );
    }

    #[test]
    fn every_family_stands_once_with_all_its_series() {
        let mut exporter = exporter(8);
        exporter.sample(Timestamp::UNIX_EPOCH);
        let page = exporter.page(Timestamp::UNIX_EPOCH);
        assert_eq!(
            page.lines().filter(|l| l.starts_with("# TYPE ")).count(),
            26
        );
        assert_eq!(page.lines().filter(|l| !l.starts_with('#')).count(), 26 * 8);
    }

    #[test]
    fn no_sample_no_page() {
        assert_eq!(exporter(1).page(Timestamp::UNIX_EPOCH), "");
    }
}
